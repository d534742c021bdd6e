import { conformsToEventLog } from "./conformance.ts";
import { memoryLog } from "./memory-log.ts";

conformsToEventLog("memory", () => memoryLog());
