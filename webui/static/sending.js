// Sends a form by script, so that a lost connection costs a sentence and not the page.
const TIMEOUT_MS = 20_000;

// What became of it: `recorded` with `open`, the address to go on to, and `page`, its HTML, if it is the page of an image;
// `refused` with a sentence; `signedOut`; `otherReader`; `unreachable`; or `unable`, when the server, or a proxy before it,
// cannot do it now.
export async function send(address, fields) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new URLSearchParams(fields),
    redirect: "manual",
    // The request outlives the page.
    keepalive: true,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch(() => null);
  if (!answer) {
    return { outcome: "unreachable" };
  }
  // A service before Nightread may send a browser elsewhere to sign in.
  if (answer.status === 401 || answer.type === "opaqueredirect") {
    return { outcome: "signedOut" };
  }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok && said.open) {
    return { outcome: "recorded", ...said };
  }
  if (said.other_reader) {
    return { outcome: "otherReader" };
  }
  return said.error && answer.status < 500 && answer.status !== 429 ? { outcome: "refused", sentence: said.error } : { outcome: "unable" };
}
