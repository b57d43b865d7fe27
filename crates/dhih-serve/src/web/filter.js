// The label filter: a chip for each class of the run, any number of which can be chosen.
import { $, button, fillChips } from "./dom.js";
import { state } from "./state.js";

/** Creates the chips; `changed` is called with the chosen labels whenever they change. */
export function setUpFilter(changed) {
  const { classes, labels } = state.info;
  $("labels").hidden = classes.length === 0 || labels === "none";
  fillChips($("labels-chips"), $("labels-find"), classes, (name) => {
    const chip = button("chip", name, () => changed(toggled(name)));
    chip.value = name;
    return chip;
  });
  $("labels-clear").addEventListener("click", () => {
    changed([]);
    // The button is gone, so the focus moves to the chips.
    $("labels-chips").querySelector(".chip")?.focus();
  });
  showFilter();
}

/** The chosen labels with `name` added or removed. They are in the order of the chips, so that equal filters have equal addresses. */
function toggled(name) {
  const chosen = new Set(state.labels);
  if (!chosen.delete(name)) chosen.add(name);
  return state.info.classes.filter((one) => chosen.has(one));
}

export function showFilter() {
  for (const chip of $("labels-chips").querySelectorAll(".chip")) chip.setAttribute("aria-pressed", state.labels.includes(chip.value));
  $("labels-clear").hidden = state.labels.length === 0;
  $("labels-any").hidden = state.labels.length > 0;
}
