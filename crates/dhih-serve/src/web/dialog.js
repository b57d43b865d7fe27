// Dialogs with a form. Errors are shown in the dialog itself, so that the input is not lost.

/** Opens `dialog`. Its form calls `act` until it succeeds or the dialog is dismissed. Returns the result of `act`, or null. */
export function converse(dialog, act) {
  const [form, problem] = [dialog.querySelector("form"), dialog.querySelector(".problem")];
  let underWay = null;
  const busy = (is) => dialog.classList.toggle("busy", is);
  const isBusy = () => dialog.classList.contains("busy");
  const attempt = async () => {
    busy(true);
    problem.textContent = "";
    try {
      const result = await act(new FormData(form));
      dialog.close();
      return result;
    } catch (error) {
      problem.textContent = error.title ? `${error.title}. ${error.message}` : `The page failed. Reload it. (${error.message})`;
      return null;
    } finally {
      busy(false);
    }
  };
  problem.textContent = "";
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      if (!isBusy()) underWay = attempt();
    };
    // A request that was sent cannot be cancelled, so the dialog stays open until it is answered.
    dialog.oncancel = (event) => {
      if (isBusy()) event.preventDefault();
    };
    dialog.querySelector("[data-close]").onclick = () => {
      if (!isBusy()) dialog.close();
    };
    // The event fires some time after a dialog was closed. If it is open again by then, the event belongs to an earlier use.
    dialog.onclose = async () => dialog.open || resolve(await underWay);
    dialog.showModal();
  });
}
