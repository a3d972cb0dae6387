// The files of dropped folders, and which files of a folder are no images.

const SYSTEM_FILES = ["thumbs.db", "desktop.ini"];

// Leaves out what file managers write into every folder.
export function withoutSystemFiles(files) {
  return [...files].filter((file) => !file.name.startsWith(".") && !SYSTEM_FILES.includes(file.name.toLowerCase()));
}

// The entries must be asked for while the event is handled: afterwards, they are gone.
export async function droppedFiles(data) {
  const items = [...data.items].filter((item) => item.kind === "file");
  const dropped = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return (await Promise.all(dropped.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry instanceof File) {
    return [entry];
  }
  if (entry.isFile) {
    return [await new Promise((resolve, reject) => { entry.file(resolve, reject); })];
  }
  const reader = entry.createReader();
  const found = [];
  // A reader gives the entries of a folder in parts, and an empty part at the end.
  for (;;) {
    const part = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (part.length === 0) {
      return (await Promise.all(found.map(filesOf))).flat();
    }
    found.push(...part);
  }
}
