/** `pnpm bench`: how many jobs a second, next to what the broker's bare client reaches with the same messages. */
import { parseArgs } from "node:util";
import { latency, memory, type Plan, type Sync, throughput } from "./measure.ts";
import { latencyLine, machine, machineLine, memoryLine, rowOf, tableHead } from "./report.ts";

const help = `pnpm bench [--json] [--sync default|always|both] [--in-flight 1,64,1000] [--scale 1] [--only throughput|latency|memory]

Runs jobs that do nothing through the whole engine (dispatch, journal, leases, fact, acknowledgement) and the same
messages through the bare client, in turns, on a broker of its own. No service and no database is needed.

  --json         one JSON document instead of tables
  --sync         the broker's sync_interval: default (2 min), always (fsync before every answer), or both
  --in-flight    how many jobs between dispatch and acknowledgement at any time
  --scale        more or fewer jobs: 0.1 takes seconds, 1 about two minutes
  --only         one of the three measurements
`;

const options = {
  help: { type: "boolean", short: "h", default: false },
  json: { type: "boolean", default: false },
  sync: { type: "string", default: "both" },
  "in-flight": { type: "string", default: "1,64,1000" },
  scale: { type: "string", default: "1" },
  only: { type: "string" },
} as const;

const jobsAt: Readonly<Record<Sync, (inFlight: number) => number>> = {
  default: (inFlight) => Math.min(600 * Math.sqrt(inFlight) * 1.5, 16_000),
  always: (inFlight) => Math.min(200 * Math.sqrt(inFlight) * 1.5, 6_000),
};

function planOf(sync: Sync, inFlights: readonly number[], scale: number): Plan {
  const loads = inFlights.map((inFlight) => ({
    inFlight,
    jobs: Math.max(2, Math.ceil(jobsAt[sync](inFlight) * scale)),
  }));
  return { syncs: [sync], loads, turns: 2, latencySamples: Math.ceil(300 * scale) };
}

const { values } = parseArgs({ options });
const inFlights = values["in-flight"].split(",").map(Number);
const scale = Number(values.scale);
const syncs = (["default", "always"] as const).filter(
  (sync) => values.sync === "both" || values.sync === sync,
);
const isWanted = (part: string) => values.only === undefined || values.only === part;
const isUsable = inFlights.every((each) => Number.isInteger(each) && each >= 1 && each <= 1_000);

async function run(): Promise<void> {
  const say = (line: string) => void (values.json || process.stdout.write(`${line}\n`));
  const on = await machine();
  say(`${machineLine(on)}\n`);
  const report = {
    machine: on,
    throughput: [] as unknown[],
    latency: [] as unknown[],
    memory: undefined as unknown,
  };
  if (isWanted("throughput")) {
    say(tableHead);
    for (const sync of syncs) {
      const plan = planOf(sync, inFlights, scale);
      report.throughput.push(...(await throughput(sync, plan, (row) => say(rowOf(row)))));
    }
  }
  if (isWanted("latency")) {
    for (const sync of syncs) {
      const measured = await latency(sync, planOf(sync, [1], scale).latencySamples);
      report.latency.push(measured);
      say(latencyLine(measured));
    }
  }
  if (isWanted("memory")) {
    const measured = await memory(Math.ceil(5_000 * scale));
    report.memory = measured;
    say(memoryLine(measured));
  }
  if (values.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
}

if (values.help) process.stdout.write(help);
else if (syncs.length === 0 || !isUsable || !(scale > 0)) {
  process.stderr.write(help);
  process.exitCode = 2;
} else await run();
