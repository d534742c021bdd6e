/** Forms: how many rows are selected, and a question before what cannot be taken back. */

const boxes = (form: Element): readonly HTMLInputElement[] => [
  ...form.querySelectorAll<HTMLInputElement>("input[type=checkbox][name=job]"),
];

function tell(form: Element): void {
  const all = boxes(form);
  const selected = all.filter(({ checked }) => checked).length;
  const every = form.querySelector<HTMLInputElement>("input[data-all]");
  if (every) {
    every.checked = selected > 0 && selected === all.length;
    every.indeterminate = selected > 0 && selected < all.length;
  }
  const told = form.querySelector("[data-selected]");
  if (told) told.textContent = `${selected} selected`;
  for (const button of form.querySelectorAll<HTMLButtonElement>("button[data-needs-selection]")) {
    button.disabled = selected === 0;
  }
}

/** Tells how many rows are selected, now and after each change; again after a page was renewed. */
export function tellSelected(): void {
  for (const form of document.querySelectorAll("form[data-bulk]")) tell(form);
}

/** Begins to do so. */
export function countSelected(): void {
  document.addEventListener("change", ({ target }) => {
    if (!(target instanceof HTMLInputElement) || target.type !== "checkbox") return;
    const form = target.closest("form[data-bulk]");
    if (!form) return;
    if (target.dataset["all"] !== undefined) {
      for (const box of boxes(form)) box.checked = target.checked;
    }
    tell(form);
  });
  tellSelected();
}

function question(button: HTMLElement, form: HTMLFormElement): string {
  const selected = boxes(form).filter(({ checked }) => checked).length;
  return (button.dataset["confirm"] ?? "").replace("{n}", String(selected));
}

/** Asks in a dialog before a button with `data-confirm` sends its form. */
export function askBeforehand(): void {
  const dialog = document.querySelector<HTMLDialogElement>("#confirm");
  const text = document.querySelector("#confirm-question");
  const yes = document.querySelector("#confirm-yes");
  if (!dialog || !text || !yes) return;
  document.addEventListener("submit", (event) => {
    const { submitter, target } = event;
    if (!(submitter instanceof HTMLElement) || !(target instanceof HTMLFormElement)) return;
    if (submitter.dataset["confirm"] === undefined || submitter.dataset["sure"] === "yes") return;
    event.preventDefault();
    text.textContent = question(submitter, target);
    yes.textContent = submitter.textContent;
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue !== "yes") return submitter.focus();
        submitter.dataset["sure"] = "yes";
        target.requestSubmit(submitter);
        delete submitter.dataset["sure"];
      },
      { once: true },
    );
    dialog.returnValue = "";
    dialog.showModal();
  });
}
