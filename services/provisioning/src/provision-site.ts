/** `site.provision`: puts a site on its server, checks it as a visitor would, and takes all of it back when it cannot. */
import { ProvisionSiteInput } from "@chom/proto/chom/provisioning/v1/events";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf, permanent } from "@chom/shared/failure/failure";
import { job } from "@chom/shared/job/job";
import type { Run, Undoing } from "@chom/shared/job/run";
import type { Script } from "@chom/shared/script/script";
import type { ApplicationArchive } from "./application-archive.ts";
import type { DomainClaims } from "./domain-claims.ts";
import { namesOf } from "./names.ts";
import { renderPool } from "./php-pool.ts";
import { planSite } from "./preflight.ts";
import {
  quarantineFiles,
  removeDatabase,
  removePhpPool,
  removeSiteUser,
  removeVhost,
} from "./removal-scripts.ts";
import * as scripts from "./server-scripts.ts";
import { bringsDatabase, needsPhp, webRootOf } from "./site-kind.ts";
import type { SiteSecrets } from "./site-secrets.ts";
import { type ProvisionedSite, site } from "./site.ts";
import { renderVhost } from "./vhost.ts";

export type ProvisionDependencies = {
  readonly claims: DomainClaims;
  readonly secrets: SiteSecrets;
  /** What is not configured cannot be asked for. */
  readonly archives: {
    readonly wordpress: ApplicationArchive | undefined;
    readonly laravel: ApplicationArchive | undefined;
  };
  /** How long the files of a site that could not be finished are kept on the server. */
  readonly quarantineDays: number;
};

/** Name of the administrator of every WordPress site; the password is the site's own. */
export const administrator = "admin";

/** Sending an archive and installing from it takes longer than the 90 s of a plain site. */
const timeoutMs = ({ kind }: ProvisionSiteInput): number =>
  bringsDatabase(kind) ? 900_000 : 90_000;

type Progress = {
  readonly deps: ProvisionDependencies;
  readonly input: ProvisionSiteInput;
  readonly run: Run;
  readonly phpVersion: string;
};

const placeholder = (domain: string, php: boolean): { file: string; content: string } => {
  const page = `<!doctype html>\n<title>${domain}</title>\n<h1>${domain}</h1>\n<p>This site is ready.</p>\n`;
  return php ? { file: "index.php", content: page } : { file: "index.html", content: page };
};

/** Journals what will have to be taken back before it is made: a run may die between the two. */
async function makes<Input, Output extends { readonly [key: string]: string | boolean | number }>(
  { run, input }: Progress,
  what: string,
  script: Script<Input, Output>,
  given: { input: Input; undo: (undoing: Undoing) => Promise<unknown> },
): Promise<Output> {
  await run.step(`begin: ${what}`, async () => {}, {
    async undo(_, undoing) {
      await given.undo(undoing);
    },
  });
  return run.script(what, script, input.serverId, given.input);
}

/** Takes the site's files to quarantine when it has to be taken back: deleting is for people. */
async function makeHome(progress: Progress): Promise<void> {
  const { deps, input, run } = progress;
  const names = namesOf(input.siteId);
  await makes(progress, "make the user and folders", scripts.makeSiteUser, {
    input: names,
    async undo(undoing) {
      const aside = { ...names, databaseName: "", run: run.id, keepDays: deps.quarantineDays };
      await undoing.script(quarantineFiles, input.serverId, aside);
      await undoing.script(removeSiteUser, input.serverId, names);
    },
  });
}

async function makeDatabase(progress: Progress) {
  const { deps, input, run } = progress;
  const names = namesOf(input.siteId);
  const password = await deps.secrets.ensure(run.tenant, input.siteId, "database");
  const { socket } = await makes(progress, "make the database", scripts.makeDatabase, {
    input: { ...names, password },
    undo: (undoing) => undoing.script(removeDatabase, input.serverId, names),
  });
  return { name: names.databaseName, socket, password };
}

type SiteDatabase = Awaited<ReturnType<typeof makeDatabase>>;

async function installApplication(progress: Progress, database: SiteDatabase): Promise<void> {
  const { deps, input, run, phpVersion } = progress;
  const isWordpress = input.kind === SiteKind.WORDPRESS;
  const archive = isWordpress ? deps.archives.wordpress : deps.archives.laravel;
  if (!archive) throw permanent("unsupported-type", `no archive is configured for ${input.kind}`);
  const names = namesOf(input.siteId);
  const release = hashId("release", run.id).slice(0, 16);
  const { sizeBytes, open } = await archive.ready(run.signal);
  const marker = isWordpress ? "wp-load.php" : "artisan";
  await run.transfer(
    "send the application",
    scripts.receiveApplication,
    input.serverId,
    { ...names, release, sha256: archive.sha256, sizeBytes, marker },
    { upload: async () => open() },
  );
  const { password, socket } = database;
  const application = { ...names, password, socket, release, domain: input.domain, phpVersion };
  if (!isWordpress) {
    await run.script("install Laravel", scripts.installLaravel, input.serverId, application);
    return;
  }
  const adminPassword = await deps.secrets.ensure(run.tenant, input.siteId, "administrator");
  await run.script("install WordPress", scripts.installWordpress, input.serverId, {
    ...application,
    adminUser: administrator,
    adminPassword,
    adminEmail: input.adminEmail,
  });
}

async function makePool(progress: Progress, database: SiteDatabase | undefined): Promise<void> {
  const { input, phpVersion } = progress;
  const names = namesOf(input.siteId);
  const pool = renderPool({ ...names, database });
  await makes(progress, "make the PHP pool", scripts.makePhpPool, {
    input: { ...names, phpVersion, pool },
    undo: (undoing) => undoing.script(removePhpPool, input.serverId, names),
  });
}

/** The application, or a first page where the site's owner brings their own. */
async function fill(progress: Progress, database: SiteDatabase | undefined): Promise<void> {
  const { input, run } = progress;
  if (database && bringsDatabase(input.kind)) return installApplication(progress, database);
  const page = placeholder(input.domain, needsPhp(input.kind));
  const names = namesOf(input.siteId);
  await run.script("place the first page", scripts.placePage, input.serverId, {
    ...names,
    ...page,
  });
}

/** Declares `site.provision`. */
export const provisionSite = (deps: ProvisionDependencies) =>
  job(site, {
    name: "site.provision",
    input: ProvisionSiteInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    server: ({ serverId }) => serverId,
    started: "begin",
    done: "complete",
    failed: "fail",
    cancelled: "abandon",
    queue: "default",
    tries: 3,
    timeoutMs,
    backoffMs: [60_000],
    exclusive: ({ siteId }) => [`site.${siteId}`],
    circuit: ({ serverId }) => serverId,
    rateLimit: ({ serverId }) => ({ name: "provisioning", key: serverId }),

    async work(input, run): Promise<ProvisionedSite> {
      const { siteId, serverId, domain, kind } = input;
      const names = namesOf(siteId);
      const php = needsPhp(kind);
      const wantsDatabase = input.database || bringsDatabase(kind);
      await run.step("hold the domain", () => holdDomain(deps, input, run));
      // What is free or running may change between attempts, so every attempt looks anew.
      const report = await run.script(
        "look at the server",
        scripts.checkServer,
        serverId,
        { ...names, domain },
        { check: async () => false },
      );
      const plan = planSite(report, { ...input, database: wantsDatabase });
      const chosen = await run.step("choose the PHP version", async () => plan.phpVersion);
      const progress: Progress = { deps, input, run, phpVersion: chosen };
      const { ipv6 } = plan;
      await run.script("prepare the web server", scripts.prepareWebServer, serverId, { ipv6 });
      await makeHome(progress);
      const database = wantsDatabase ? await makeDatabase(progress) : undefined;
      if (php) await makePool(progress, database);
      await fill(progress, database);
      await makes(progress, "serve the site", scripts.applyVhost, {
        input: { ...names, vhost: renderVhost({ ...names, domain, kind, ipv6 }) },
        undo: (undoing) => undoing.script(removeVhost, serverId, names),
      });
      await run.script("visit the site", scripts.checkSite, serverId, {
        ...names,
        webRoot: webRootOf(kind, names.rootPath),
        domain,
        token: hashId("visit", run.id, run.generation),
        php,
        database: wantsDatabase,
      });
      return {
        phpVersion: chosen,
        systemUser: names.systemUser,
        rootPath: names.rootPath,
        databaseName: wantsDatabase ? names.databaseName : "",
        serverAddresses: report.addresses,
      };
    },
  });

/** A job that an operator retries may have lost its domain meanwhile: then it must end before it touches anything. */
async function holdDomain(
  { claims }: ProvisionDependencies,
  { domain, siteId }: ProvisionSiteInput,
  { tenant, actor, id }: Run,
): Promise<void> {
  const claim = { domain, siteId, ownerTenant: tenant };
  try {
    await claims.hold(claim, { actor, causationId: id });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "name-taken") {
      throw failureOf("name-taken", error.message, { cause: error });
    }
    throw error;
  }
}
