// The page: chooses a file, has it scored, and shows the result.

import { draw } from "./activation_picture.js";
import { isFar } from "./distance.js";
import { decimalsBeside, distanceText, limitText, probabilityText } from "./numbers.js";
import { Picture } from "./picture.js";
import { Rejected } from "./rejection.js";
import { Scorer } from "./scorer.js";

const FOLDER = new URL(".", import.meta.url);
// The picture is shown with at least so many pixels on its shorter side, if it has them.
const SHOWN = 700;
const MEANINGS = {
  flagged: "A person should read this image early.",
  uncertain: "The score does not decide. A person should read this image.",
  clear: "Little speaks for pneumonia. A person still has to read this image.",
};

const find = (id) => document.getElementById(id);
const controls = { file: find("file"), age: find("age"), point: find("point"), map: find("map") };
const state = find("state");
const canvas = find("canvas");

// What is shown: the name of the file, its score or the reason for none, and its picture.
let shown = null;

function say(text, isProblem = false) {
  state.textContent = text;
  state.classList.toggle("problem", isProblem);
}

async function start() {
  const scorer = await Scorer.load(FOLDER);
  const { setup } = scorer;
  find("model").textContent = `Model ${setup.name} ${setup.version}, ${setup.model.slice(0, 12)}.`
    + (setup.verified ? "" : " It is not verified: it is none that Nightread ships.");
  const { ages } = setup;
  find("ages").textContent = ages
    ? `The figures of this model hold from ${ages.min} to ${ages.max} years. At another age, no image is clear.`
    : "The model's card states no ages.";
  for (const name of Object.keys(setup.operating_points)) {
    const isDefault = name === setup.default_operating_point;
    controls.point.append(new Option(isDefault ? `${name} (default)` : name, name, isDefault, isDefault));
  }
  // The same file can be chosen again.
  controls.file.addEventListener("click", () => { controls.file.value = ""; });
  controls.file.addEventListener("change", () => score(scorer, controls.file.files[0]));
  controls.age.addEventListener("input", () => show(scorer));
  controls.point.addEventListener("change", () => show(scorer));
  controls.map.addEventListener("change", drawPicture);
  controls.file.disabled = false;
  say("Ready. Choose an image.");
}

async function score(scorer, file) {
  if (!file) {
    return;
  }
  controls.file.disabled = true;
  find("result").hidden = true;
  say(`Scoring ${file.name} …`);
  // The sentence is painted before the work begins.
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const started = performance.now();
  try {
    const data = new Uint8Array(await file.arrayBuffer());
    shown = { name: file.name, ...await scored(scorer, data) };
    shown.ms = Math.round(performance.now() - started);
    shown.picture = await pictureOf(data);
    show(scorer);
    say(`Done in ${shown.ms} ms.`);
    find("result").focus();
  } catch (error) {
    shown = null;
    say(`The image cannot be scored here: ${error.message}`, true);
  } finally {
    controls.file.disabled = false;
  }
}

async function scored(scorer, data) {
  try {
    return { score: await scorer.score(data), rejected: null };
  } catch (error) {
    if (error instanceof Rejected) {
      return { score: null, rejected: error };
    }
    throw error;
  }
}

// The grey values that were scored; null if the file cannot be decoded.
async function pictureOf(data) {
  try {
    return await new Picture(data).decode(SHOWN);
  } catch (error) {
    if (error instanceof Rejected) {
      return null;
    }
    throw error;
  }
}

function ageOf(field) {
  return field.value === "" || !Number.isFinite(field.valueAsNumber) ? null : field.valueAsNumber;
}

const element = (name, textContent) => Object.assign(document.createElement(name), { textContent });

function show(scorer) {
  if (shown === null) {
    return;
  }
  find("outcome").textContent = `Result for ${shown.name}`;
  const content = shown.score ? scoredContent(scorer, shown.score) : rejectedContent(scorer, shown.rejected);
  const verdict = find("verdict");
  verdict.dataset.verdict = content.verdict;
  const marks = (content.marks ?? []).flatMap((mark) => [" ", element("span", mark)]);
  verdict.replaceChildren(element("strong", content.verdict), ...marks, ` ${content.text}`);
  find("reason").textContent = content.reason ?? "";
  find("bounds").textContent = content.bounds ?? "";
  find("notes").replaceChildren(...(content.notes ?? []).map((note) => element("li", note)));
  find("document").textContent = JSON.stringify(content.document, null, 2);
  drawPicture();
  find("result").hidden = false;
}

function scoredContent(scorer, score) {
  const [point, age] = [controls.point.value, ageOf(controls.age)];
  const verdict = scorer.verdict(score, point, age);
  const { band_low: low, band_high: high } = scorer.setup.operating_points[point];
  const { distance } = score;
  const decimals = decimalsBeside(score.p_pneumonia, [low, high]);
  const isOutside = scorer.isOutside(age);
  const notes = [
    score.looked_twice && "The network looked again, at the mirrored and at the enlarged image, and the three looks were averaged.",
    score.crop && "A film was cut out of a margin or a page. Such an image is clear only far below the band.",
    score.lungs && (scorer.film
      ? "One network saw the part around the lungs and another one the whole film; what they found was averaged. A frame shows the part around the lungs."
      : "The network saw only the part around the lungs. A frame shows it together with the map."),
    score.cutOff && "The film ends at the edge of the lungs, so part of them may be cut off. Scores of such films are less reliable.",
    isOutside && "The figures of this model do not hold at this age, so the image is never clear.",
    isFar(distance) && `The image is far from the training data: at ${distanceText(distance)} times the limit. The figures of this model do not hold here, so the image is never clear.`,
    scorer.setup.ages && age === null && "The age is not known, so nobody can tell whether the figures of this model hold.",
  ].filter(Boolean);
  return {
    verdict,
    marks: isFar(distance) ? ["far from the training data"] : [],
    text: `Score ${probabilityText(score.p_pneumonia, decimals)} of 1 for pneumonia.`,
    reason: MEANINGS[verdict],
    bounds: `At the operating point ${point}, an image is flagged from ${limitText(high, decimals)} and clear below ${limitText(low, decimals)}.`,
    notes,
    document: documentOf(scorer, { score, verdict, population: populationOf(scorer, age) }),
  };
}

function rejectedContent(scorer, rejected) {
  const reason = rejected.sentence(scorer.setup.sentences);
  return { verdict: "rejected", text: "This image has no score.", reason, document: documentOf(scorer, { reason }) };
}

function populationOf(scorer, age) {
  return scorer.setup.ages === null ? null : age === null ? "unknown" : scorer.isOutside(age) ? "outside" : "inside";
}

// The keys of `nightread screen --json`.
function documentOf({ setup }, { score = null, verdict = null, reason = null, population = null }) {
  const rounded = (value) => (value === undefined ? null : Math.round(value * 1e6) / 1e6);
  const named = setup.labels.map((label, i) => [`p_${label}`, rounded(score?.probabilities[i])]);
  return {
    file: shown.name,
    outcome: score ? "scored" : "rejected",
    reason,
    ...Object.fromEntries(named),
    p_pneumonia: rounded(score?.p_pneumonia),
    confidence: rounded(score?.confidence),
    verdict,
    crop: score?.crop ?? null,
    lungs: score?.lungs ?? null,
    lungs_cut_off: score?.cutOff ?? null,
    population,
    distance: score?.distance ?? null,
    model: setup.model,
    model_verified: setup.verified,
  };
}

function drawPicture() {
  const { picture, score } = shown ?? {};
  find("picture").hidden = !picture;
  find("map-choice").hidden = !score;
  find("scale").hidden = !score;
  if (picture) {
    const hasMap = Boolean(score) && controls.map.checked;
    draw(canvas, picture, hasMap ? score : null);
    canvas.setAttribute("aria-label", `The image ${shown.name}${hasMap ? ", with the map of what moved the score" : ""}`);
  }
}

async function keepForOffline() {
  if (!navigator.serviceWorker) {
    find("offline").textContent = "This page needs the network each time: it is neither on this device nor on an https address.";
    return;
  }
  await navigator.serviceWorker.register(new URL("offline.js", FOLDER));
  await navigator.serviceWorker.ready;
  find("offline").textContent = "This page also works without a network.";
}

start().catch((error) => say(`The model cannot be loaded: ${error.message}`, true));
keepForOffline().catch((error) => {
  find("offline").textContent = `This page needs the network each time: ${error.message}`;
});
