/** What a page does beyond its markup: stays live, asks before what cannot be undone, and keeps its times fresh. */
import { askBeforehand, countSelected } from "./forms.ts";
import { stayLive } from "./live.ts";
import { keepTimes } from "./times.ts";

askBeforehand();
countSelected();
keepTimes();
const { live } = document.body.dataset;
if (live !== undefined) stayLive(live);
