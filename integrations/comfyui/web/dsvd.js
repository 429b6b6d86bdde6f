// Previews: the picture of the chosen subject on its node, and of each subject beside the open menu.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODES = ["DsvdLoadCheckpoint", "DsvdApplySubject", "DsvdApplySubjects"];
const MENUS = ".litecontextmenu";
const NONE = "(none)";
const SIDE = 220;

const names = new Set();

function address(subject, version) {
  const query = new URLSearchParams({ subject, version });
  return api.apiURL(`/dsvd/preview?${query}`);
}

// The subject's picture, or null. The server says 404 where there is none.
function picture(subject, version) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = address(subject, version);
  });
}

// Show the picture of the first subject that a node has, where ComfyUI shows pictures of nodes.
async function showOnNode(node) {
  const value = (name) => node.widgets.find((widget) => widget.name === name)?.value;
  const row = node.widgets.some((widget) => widget.name === "subject_1") ? "_1" : "";
  const subject = value(`subject${row}`);
  const asked = `${subject}@${value(`version${row}`)}`;
  node.dsvdAsked = asked;
  const found = subject && subject !== NONE ? await picture(subject, value(`version${row}`)) : null;
  if (node.dsvdAsked !== asked) return; // another subject was chosen meanwhile
  node.imgs = found ? [found] : undefined;
  node.imageIndex = found ? 0 : null;
  if (found && node.size[1] < SIDE + node.computeSize()[1]) {
    node.setSize([node.size[0], SIDE + node.computeSize()[1]]);
  }
  app.graph.setDirtyCanvas(true, true);
}

function follow(node) {
  for (const widget of node.widgets ?? []) {
    if (!/^(subject|version)/.test(widget.name)) continue;
    if (widget.name.startsWith("subject")) {
      for (const name of widget.options?.values ?? []) names.add(name);
    }
    const before = widget.callback;
    widget.callback = function (...words) {
      const result = before?.apply(this, words);
      showOnNode(node);
      return result;
    };
  }
  showOnNode(node);
}

// Show the picture of the entry under the pointer, beside an open menu of subjects.
function watchMenus() {
  const shown = document.createElement("img");
  shown.alt = "";
  shown.style.cssText = `position:fixed;display:none;max-width:${SIDE}px;max-height:${SIDE}px;z-index:10000`;
  document.body.append(shown);
  let asked = null;
  document.addEventListener("mouseover", async (event) => {
    const entry = event.target.closest?.(`${MENUS} .litemenu-entry`);
    const subject = entry?.textContent.trim();
    asked = subject;
    shown.style.display = "none";
    if (!names.has(subject) || subject === NONE) return;
    const found = await picture(subject, "latest");
    if (!found || asked !== subject || !entry.isConnected) return;
    const place = entry.closest(MENUS).getBoundingClientRect();
    shown.src = found.src;
    const hasRoom = place.right + SIDE < window.innerWidth;
    shown.style.left = `${hasRoom ? place.right + 4 : place.left - SIDE - 4}px`;
    shown.style.top = `${Math.min(event.clientY, window.innerHeight - SIDE)}px`;
    shown.style.display = "block";
  });
  document.addEventListener("click", () => { shown.style.display = "none"; }, true);
}

app.registerExtension({
  name: "dsvd.previews",
  setup: watchMenus,
  nodeCreated(node) {
    if (NODES.includes(node.comfyClass)) follow(node);
  },
  refreshComboInNodes(definitions) {
    for (const name of NODES) {
      for (const input of Object.entries(definitions[name]?.input?.required ?? {})) {
        if (!input[0].startsWith("subject")) continue;
        const options = Array.isArray(input[1][0]) ? input[1][0] : input[1][1].options;
        for (const option of options) names.add(option);
      }
    }
  },
});
