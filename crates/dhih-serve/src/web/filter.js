// The label filter: a chip for each class of the run, of which any number may be chosen.
import { $, button, fillChips } from "./dom.js";
import { state } from "./state.js";

/** Makes the chips; `changed` gets the labels chosen from now on. */
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
    // The button is gone now: the keyboard goes on at the chips.
    $("labels-chips").querySelector(".chip")?.focus();
  });
  showFilter();
}

/** The chosen labels with `name` put in or taken out, in the order of the chips: one filter has one address. */
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
