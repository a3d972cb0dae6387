// Passkeys: signs in with one, and adds one. The forms stay hidden in browsers that cannot do it.

async function send(address, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: body && JSON.stringify(body),
  });
  const content = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) {
    throw new Error(content.error ?? "Nightread did not accept this. Load the page again.");
  }
  return content;
}

async function signIn(form) {
  const { options, state } = await send(form.dataset.options, null);
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const credential = await navigator.credentials.get({ publicKey });
  return send(form.dataset.signIn, { state, credential: credential.toJSON(), next: form.elements.next.value });
}

async function add(form) {
  const present = form.elements.present?.value ?? "";
  const { options, state } = await send(form.dataset.options, { present });
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const credential = await navigator.credentials.create({ publicKey });
  return send(form.dataset.add, { state, credential: credential.toJSON(), name: form.elements.name.value });
}

function offer(form, action) {
  const problem = form.querySelector(".problem");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      location.assign((await action(form)).next);
    } catch (error) {
      problem.textContent =
        error.name === "NotAllowedError" ? "The device gave no passkey. Try again, or sign in another way." : error.message;
      problem.hidden = false;
    }
  });
}

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  for (const [id, action] of [["passkey-sign-in", signIn], ["add-passkey", add]]) {
    const form = document.getElementById(id);
    if (form) {
      offer(form, action);
    }
  }
}
