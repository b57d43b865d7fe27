// Dialogs with a form: open, act, and say in the dialog itself what went wrong, so that nothing typed is lost.

/** Opens `dialog`. Its form calls `act` until that succeeds or the dialog is dismissed. Gives what `act` gave, or null. */
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
    // What was sent cannot be called back: the dialog stays until it is answered.
    dialog.oncancel = (event) => {
      if (isBusy()) event.preventDefault();
    };
    dialog.querySelector("[data-close]").onclick = () => {
      if (!isBusy()) dialog.close();
    };
    // The event comes some time after a dialog was closed: one that is open again by then is another conversation.
    dialog.onclose = async () => dialog.open || resolve(await underWay);
    dialog.showModal();
  });
}
