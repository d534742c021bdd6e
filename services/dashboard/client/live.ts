/** Staying live: a stream says that the page is stale, the page is asked for again, and what differs is changed. */
import { Idiomorph } from "idiomorph";
import { tellSelected } from "./forms.ts";

/** The server says something at least every 15 s. */
const silentMs = 40_000;
const reopenMs = 3_000;
/** Not more often than this, and never more than a fifth of the time. */
const paceMs = 800;
/** Read models of events follow the log by a moment. */
const settleMs = 1_500;
/** Until the page is asked for again when it could not be renewed, or came older than the news. */
const againMs = 3_000;

type State = "live" | "waiting" | "lost" | "off";
const words: Readonly<Record<State, string>> = {
  live: "Live",
  waiting: "Reconnecting",
  lost: "Not live: no connection",
  off: "Not live",
};

function show(state: State): void {
  const chip = document.querySelector<HTMLElement>("#live");
  const word = chip?.querySelector("span");
  if (!chip || !word || chip.dataset["state"] === state) return;
  chip.dataset["state"] = state;
  word.textContent = words[state];
}

/** Boxes that are ticked and details that are open stay as they are. */
const keep = (name: string, node: Element): boolean =>
  !(name === "checked" || (name === "open" && node instanceof HTMLDetailsElement));

/** A search that is being written stays as it is: it depends on the address alone. */
const isOver = (node: Node): boolean =>
  !(node instanceof HTMLFormElement && node.classList.contains("filters"));

/** Shows the page as it is now; false when what is shown may be older than `position`. */
async function renew(position: string): Promise<boolean> {
  const answer = await fetch(location.href, {
    headers: { "chom-seen": position },
    redirect: "manual",
  });
  if (answer.type === "opaqueredirect") {
    location.assign("/sign-in");
    return true;
  }
  if (answer.status >= 500) return false;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [here, there] = [document.querySelector("#content"), next.querySelector("#content")];
  if (!here || !there || document.querySelector("dialog[open]")) return false;
  void Idiomorph.morph(here, there.innerHTML, {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: { beforeAttributeUpdated: keep, beforeNodeMorphed: isOver },
  });
  document.title = next.title;
  tellSelected();
  return !answer.headers.has("chom-behind");
}

/** Runs `renew` at its pace: at once, then as often as it may, and once more when things have settled. */
function renewer(): (position: string) => void {
  let wanted: string | undefined;
  let isBusy = false;
  let settling: ReturnType<typeof setTimeout> | undefined;
  async function run(): Promise<void> {
    isBusy = true;
    while (wanted !== undefined) {
      const position = wanted;
      wanted = undefined;
      const began = performance.now();
      const isNew = await renew(position).catch(() => false);
      const pauseMs = Math.max(isNew ? paceMs : againMs, (performance.now() - began) * 4);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      if (!isNew) wanted ??= position;
    }
    isBusy = false;
  }
  const ask = (position: string) => {
    wanted = position;
    if (!isBusy) void run();
  };
  return (position) => {
    ask(position);
    clearTimeout(settling);
    settling = setTimeout(() => ask(position), settleMs);
  };
}

/** Follows the stream at this address while the page is seen. */
export function stayLive(address: string): void {
  const again = renewer();
  let source: EventSource | undefined;
  let heardAt = performance.now();
  const position = (event: MessageEvent<string>): string =>
    (JSON.parse(event.data) as { position?: string }).position ?? "";
  function open(): void {
    source?.close();
    source = new EventSource(address);
    heardAt = performance.now();
    const on = (name: string, work: (event: MessageEvent<string>) => void) =>
      source?.addEventListener(name, (event) => {
        heardAt = performance.now();
        work(event);
      });
    on("upstream", ({ data }) => {
      const { isConnected } = JSON.parse(data) as { isConnected: boolean };
      show(isConnected ? "live" : "waiting");
    });
    on("stale", (event) => again(position(event)));
    on("look-again", (event) => again(position(event)));
    on("beat", () => {});
    on("refused", () => {
      source?.close();
      location.assign("/sign-in");
    });
    source.addEventListener("error", () => show("lost"));
  }
  setInterval(() => {
    const isClosed = source?.readyState === EventSource.CLOSED;
    const isSilent = performance.now() - heardAt > silentMs;
    if (document.hidden || !(isClosed || isSilent)) return;
    show("lost");
    open();
    // A session that has ended closes the stream at once: then the page itself says so.
    if (isClosed) again("");
  }, reopenMs);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      open();
      again("");
      return;
    }
    source?.close();
    show("off");
  });
  addEventListener("pagehide", () => source?.close());
  show("waiting");
  open();
  // What had just happened when the page was made may not have been in every read model.
  setTimeout(() => again(""), settleMs);
}
