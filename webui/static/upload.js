// Uploads each chosen file in its own request, then shows its verdict as soon as it is scored.
import { droppedFiles, withoutSystemFiles } from "./folders.js";

const form = document.getElementById("upload");
const list = document.getElementById("arrivals");
const summary = document.getElementById("summary");
const PARALLEL_UPLOADS = 2;
const POLL_MS = 1000;
const MAX_RECEIPTS = 200;
const RESULTS = ["flagged", "uncertain", "clear", "rejected", "quarantined", "erased"];
const again = document.getElementById("again");
const queue = [];
// What was not sent, with its rows: the button "Send again" sends it.
let failed = [];
let uploadsInProgress = 0;

function span(className, content) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = content;
  return element;
}

function addRow(file) {
  const row = document.createElement("li");
  row.className = "arrival";
  const description = span("description", "");
  description.append(span("file", file.webkitRelativePath || file.name), span("small dim", "Waiting to upload."), progressOf(file));
  row.append(span("", ""), description);
  list.append(row);
  return row;
}

function progressOf(file) {
  const progress = document.createElement("progress");
  progress.max = 1;
  progress.value = 0;
  progress.setAttribute("aria-label", `Uploading ${file.name}`);
  return progress;
}

function setText(row, sentence) {
  row.querySelector(".description .small").textContent = sentence;
}

function fail(item, sentence) {
  const { row } = item;
  failed.push(item);
  row.querySelector("progress").remove();
  row.classList.add("failed");
  setText(row, sentence);
}

function sendAgain() {
  for (const item of failed) {
    item.row.classList.remove("failed");
    item.row.querySelector(".description").append(progressOf(item.file));
    setText(item.row, "Waiting to upload.");
  }
  queue.push(...failed);
  failed = [];
  summary.focus();
  startUploads();
}

function upload(item) {
  const { file, row, stated } = item;
  const request = new XMLHttpRequest();
  const body = new FormData();
  for (const [name, value] of stated) {
    body.append(name, value);
  }
  body.append("files", file, file.name);
  uploadsInProgress += 1;
  setText(row, "Uploading.");
  request.upload.addEventListener("progress", (event) => {
    row.querySelector("progress").value = event.loaded / event.total;
  });
  request.addEventListener("load", () => {
    showResponse(request, item);
    finishUpload();
  });
  request.addEventListener("error", () => {
    fail(item, "Not sent: the connection was lost.");
    finishUpload();
  });
  request.open("POST", form.dataset.send);
  request.responseType = "json";
  request.send(body);
}

function showResponse(request, item) {
  const { row } = item;
  const response = request.response;
  if (request.status !== 200 || !Array.isArray(response) || !response[0]?.receipt) {
    fail(item, `Not sent: ${response?.error ?? response?.[0]?.reason ?? `Nightread answered with HTTP ${request.status}.`}`);
    return;
  }
  row.id = `receipt-${response[0].receipt}`;
  row.dataset.waiting = response[0].receipt;
  row.querySelector("progress").remove();
  setText(row, response[0].queued ? "Uploaded." : "Uploaded. The broker cannot be reached. Nightread will queue the image later, automatically.");
  storeReceiptsInUrl();
}

function finishUpload() {
  uploadsInProgress -= 1;
  startUploads();
  refresh();
}

function startUploads() {
  while (uploadsInProgress < PARALLEL_UPLOADS && queue.length > 0) {
    upload(queue.shift());
  }
  summarise();
}

// A reload then shows the same files.
function storeReceiptsInUrl() {
  const receipts = [...list.querySelectorAll("[id^=receipt-]")].map((row) => row.id.slice("receipt-".length));
  window.history.replaceState(null, "", `?receipts=${receipts.slice(-MAX_RECEIPTS).join(",")}`);
}

function receiptsWithoutResult() {
  return [...list.querySelectorAll("[data-waiting]")].map((row) => row.dataset.waiting);
}

function counted(count, word) {
  return count > 0 ? [`${count} ${word}`] : [];
}

function summarise() {
  const total = list.querySelectorAll(".arrival").length;
  const open = receiptsWithoutResult().length + queue.length + uploadsInProgress;
  const results = RESULTS.flatMap((result) => counted(list.querySelectorAll(`[data-result="${result}"]`).length, result));
  if (total > 0) {
    const done = `${total - open - failed.length} of ${total} files done${results.length > 0 ? `: ${results.join(", ")}` : ""}.`;
    const unsent = failed.length > 0 ? ` ${failed.length} ${failed.length === 1 ? "was" : "were"} not sent.` : "";
    summary.textContent = done + unsent;
  }
  if (again) {
    again.hidden = failed.length === 0;
    again.textContent = failed.length === 1 ? "Send 1 file again" : `Send ${failed.length} files again`;
  }
}

let refreshing = false;

// Polls once a second until every uploaded file has its result.
async function refresh() {
  summarise();
  if (refreshing || receiptsWithoutResult().length === 0) {
    return;
  }
  refreshing = true;
  try {
    await updateRows(receiptsWithoutResult().slice(0, MAX_RECEIPTS));
  } catch {
    summary.textContent = "Nightread does not respond. The uploaded files are safe.";
  }
  window.setTimeout(() => {
    refreshing = false;
    refresh();
  }, POLL_MS);
}

async function updateRows(receipts) {
  const response = await fetch(`${list.dataset.rows}?receipts=${receipts.join(",")}`);
  if (!response.ok) {
    throw new Error(response.statusText);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const row of page.querySelectorAll(".arrival")) {
    const oldRow = document.getElementById(row.id);
    if (oldRow && oldRow.outerHTML !== row.outerHTML) {
      oldRow.replaceWith(document.adoptNode(row));
    }
  }
  summarise();
}

function patientFields() {
  return [...form.querySelectorAll("#patient-fields [name]")];
}

// What the form says about the patient of the files that are chosen now. The next files may show another patient.
function takeStated() {
  const stated = patientFields().map((field) => [field.name, field.value]);
  for (const field of patientFields()) {
    field.value = "";
  }
  return stated;
}

// Two patients are never mixed: what was typed meanwhile stays.
function putBack(stated) {
  if (patientFields().some((field) => field.value)) {
    return;
  }
  for (const [name, value] of stated) {
    form.elements.namedItem(name).value = value;
  }
}

function addFiles(chosen, stated) {
  const files = withoutSystemFiles(chosen);
  for (const file of files) {
    queue.push({ file, row: addRow(file), stated });
  }
  if (files.length === 0) {
    putBack(stated);
  }
  startUploads();
}

if (form) {
  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      addFiles(input.files, takeStated());
      input.value = "";
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    document.getElementById("files").click();
  });
  again.addEventListener("click", sendAgain);
  // A browser keeps no chosen file of a page that is left.
  window.addEventListener("beforeunload", (event) => {
    if (queue.length + uploadsInProgress + failed.length > 0) {
      event.preventDefault();
    }
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
    // A large folder is listed while the reader may type the next patient.
    const stated = takeStated();
    droppedFiles(event.dataTransfer).then((files) => addFiles(files, stated), () => {
      putBack(stated);
      summary.textContent = "What you dropped cannot be read. Choose it with the links above.";
    });
  });
}

refresh();
