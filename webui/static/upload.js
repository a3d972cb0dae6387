// Upload: each file on its own, with its progress; then its verdict as soon as there is one.

const form = document.getElementById("upload");
const list = document.getElementById("arrivals");
const summary = document.getElementById("summary");
const AT_ONCE = 2;
const POLL_MS = 1000;
const POLL_AT_MOST = 200;
const waitingToBeSent = [];
let sending = 0;

function text(className, content) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = content;
  return span;
}

function addRow(file) {
  const row = document.createElement("li");
  row.className = "arrival";
  const what = text("what", "");
  const progress = document.createElement("progress");
  progress.max = 1;
  progress.value = 0;
  progress.setAttribute("aria-label", `Sending ${file.name}`);
  what.append(text("file", file.name), text("small dim", "Waits to be sent."), progress);
  row.append(text("", ""), what);
  list.append(row);
  return row;
}

function note(row, sentence) {
  row.querySelector(".what .small").textContent = sentence;
}

function fail(row, sentence) {
  row.querySelector("progress").remove();
  row.classList.add("failed");
  note(row, sentence);
}

function send({ file, row }) {
  const request = new XMLHttpRequest();
  const body = new FormData();
  body.append("files", file, file.name);
  sending += 1;
  note(row, "Being sent.");
  request.upload.addEventListener("progress", (event) => {
    row.querySelector("progress").value = event.loaded / event.total;
  });
  request.addEventListener("load", () => {
    answered(request, row);
    sent();
  });
  request.addEventListener("error", () => {
    fail(row, "It could not be sent: the connection broke off. Send it again.");
    sent();
  });
  request.open("POST", form.dataset.send);
  request.responseType = "json";
  request.send(body);
}

function answered(request, row) {
  const answer = request.response;
  if (request.status !== 200 || !Array.isArray(answer) || !answer[0]?.receipt) {
    fail(row, answer?.error ?? answer?.[0]?.reason ?? `It could not be sent (${request.status}).`);
    return;
  }
  row.id = `receipt-${answer[0].receipt}`;
  row.dataset.waiting = answer[0].receipt;
  row.querySelector("progress").remove();
  note(row, answer[0].queued ? "Arrived." : "Arrived; the queue cannot be reached, so it waits a little longer.");
  remember();
}

function sent() {
  sending -= 1;
  sendMore();
  refresh();
}

function sendMore() {
  while (sending < AT_ONCE && waitingToBeSent.length > 0) {
    send(waitingToBeSent.shift());
  }
  summarise();
}

// The receipts stand in the URL, so that a reload shows the same files.
function remember() {
  const keys = [...list.querySelectorAll("[id^=receipt-]")].map((row) => row.id.slice("receipt-".length));
  window.history.replaceState(null, "", `?receipts=${keys.slice(-POLL_AT_MOST).join(",")}`);
}

function waiting() {
  return [...list.querySelectorAll("[data-waiting]")].map((row) => row.dataset.waiting);
}

function summarise() {
  const all = list.querySelectorAll(".arrival").length;
  const open = waiting().length + waitingToBeSent.length + sending;
  if (all > 0) {
    summary.textContent = open > 0 ? `${all - open} of ${all} are done.` : `All ${all} are done.`;
  }
}

let asking = false;

// Asks for news once a second for as long as a verdict is missing.
async function refresh() {
  summarise();
  if (asking || waiting().length === 0) {
    return;
  }
  asking = true;
  try {
    await showNews(waiting().slice(0, POLL_AT_MOST));
  } catch {
    summary.textContent = "Nightread does not answer just now; what arrived is kept.";
  }
  window.setTimeout(() => {
    asking = false;
    refresh();
  }, POLL_MS);
}

async function showNews(keys) {
  const response = await fetch(`${list.dataset.rows}?receipts=${keys.join(",")}`);
  if (!response.ok) {
    throw new Error(response.statusText);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const row of page.querySelectorAll(".arrival")) {
    const old = document.getElementById(row.id);
    if (old && old.outerHTML !== row.outerHTML) {
      old.replaceWith(document.adoptNode(row));
    }
  }
  summarise();
}

function add(files) {
  for (const file of files) {
    waitingToBeSent.push({ file, row: addRow(file) });
  }
  sendMore();
}

if (form) {
  const input = document.getElementById("files");
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    input.click();
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) {
      form.classList.remove("over");
    }
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    add(event.dataTransfer.files);
  });
}

refresh();
