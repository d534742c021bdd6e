/** The demo's own site: pages with odd names and a table with odd rows, so that a comparison means something. */
import { createHash } from "node:crypto";

/** Runs a program as root inside the server; only for setting the scene and for looking. */
export type Inside = (
  argv: readonly string[],
  options?: { input?: string | Buffer },
) => Promise<{ code: number; stdout: string; stderr: string }>;

export type SitePlace = { rootPath: string; systemUser: string; databaseName: string };

/** What the site looks like: a line a file (mode, owner, size, hash, path) and every row of every table. */
export type Snapshot = { files: readonly string[]; rows: readonly string[]; digest: string };

const page = `<?php
$db = new mysqli("localhost", getenv("DB_USER"), getenv("DB_PASSWORD"), getenv("DB_NAME"), 0, getenv("DB_SOCKET"));
$count = $db->query("SELECT COUNT(*) AS n FROM orders")->fetch_assoc()["n"];
header("Content-Type: text/plain");
echo "orders: ", $count, "\\n";
`;

const schema = `
CREATE TABLE orders (id INT PRIMARY KEY, customer VARCHAR(80) NOT NULL, note BLOB) ENGINE=InnoDB CHARSET=utf8mb4;
INSERT INTO orders VALUES (1, 'Ada', 0x00FF00FF), (2, 'O''Brien; DROP TABLE orders', NULL), (3, 'Zoë 🚀', 'line\\nbreak');
CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(40)) ENGINE=InnoDB CHARSET=utf8mb4;
CREATE TRIGGER orders_audit AFTER INSERT ON orders FOR EACH ROW INSERT INTO audit (what) VALUES (CONCAT('order ', NEW.id));
INSERT INTO orders SELECT seq + 3, CONCAT('customer ', seq), REPEAT('x', seq) FROM seq_1_to_500;
`;

async function must(inside: Inside, argv: readonly string[], input?: string): Promise<string> {
  const result = await inside(argv, input === undefined ? {} : { input });
  if (result.code !== 0) throw new Error(`${argv[0]} on the server: ${result.stderr.trim()}`);
  return result.stdout;
}

/** Runs a shell script inside as the site's own user, with the site's public folder as $1. */
const asOwner = (inside: Inside, { rootPath, systemUser }: SitePlace, script: string) =>
  must(
    inside,
    ["runuser", "-u", systemUser, "--", "sh", "-eu", "-s", "--", `${rootPath}/public`],
    `umask 027\ncd -- "$1"\n${script}`,
  );

/** Runs SQL with the site's own login, so that what it defines belongs to the site and not to root. */
const asSite = (inside: Inside, { systemUser, databaseName }: SitePlace, statements: string) =>
  must(
    inside,
    [
      "mariadb",
      `--defaults-extra-file=/etc/chom/sites/${systemUser}/db.cnf`,
      "--default-character-set=utf8mb4",
      databaseName,
    ],
    statements,
  );

/** Puts pages, uploads with odd names and 503 orders in place, as the site's owner would. */
export async function fillSite(inside: Inside, place: SitePlace): Promise<void> {
  await asOwner(
    inside,
    place,
    `mkdir -p uploads/2026 "uploads/odd names"
    head -c 3000000 /dev/urandom > uploads/2026/photo.jpg
    : > uploads/empty
    printf 'x' > "uploads/odd names/new
line and 'quote'"
    ln -sfn ../uploads/2026 uploads/latest
    cat > index.php <<'PAGE'
${page}PAGE
`,
  );
  await asSite(inside, place, schema);
}

/** Looks at every file and every row. */
export async function snapshot(
  inside: Inside,
  { rootPath, databaseName }: SitePlace,
): Promise<Snapshot> {
  const listing = await must(
    inside,
    ["sh", "-eu", "-s", "--", `${rootPath}/public`],
    `
    cd -- "$1"
    find . -printf '%y %m %u:%g %p %l\\0' | sort -z | tr '\\n\\0' '?\\n'
    find . -type f -print0 | sort -z | xargs -0r sha256sum
  `,
  );
  const dump = await must(inside, [
    "mariadb-dump",
    "--default-character-set=utf8mb4",
    "--skip-comments",
    "--skip-dump-date",
    "--skip-extended-insert",
    "--order-by-primary",
    "--hex-blob",
    "--triggers",
    "--routines",
    databaseName,
  ]);
  const files = listing.split("\n").filter((line) => line !== "");
  const rows = dump.split("\n").filter((line) => line !== "" && !line.startsWith("--"));
  const digest = createHash("sha256")
    .update(JSON.stringify([files, rows]))
    .digest("hex");
  return { files, rows, digest };
}

/** What a bad night does: files gone and altered, a table dropped, rows changed. */
export async function damage(inside: Inside, place: SitePlace): Promise<void> {
  await asOwner(
    inside,
    place,
    `rm -r uploads/2026
    echo '<?php echo "hacked";' > index.php
    echo left > dropped-by-intruder.php
`,
  );
  await asSite(
    inside,
    place,
    "DROP TABLE audit; DELETE FROM orders WHERE id > 3; UPDATE orders SET customer = 'nobody';",
  );
}

/** Lines that differ, at most `limit`, for people. */
export function differences(before: Snapshot, after: Snapshot, limit = 10): string[] {
  const lines: string[] = [];
  for (const part of ["files", "rows"] as const) {
    const had = new Set(before[part]);
    const has = new Set(after[part]);
    for (const line of had) if (!has.has(line)) lines.push(`missing: ${line.slice(0, 120)}`);
    for (const line of has) if (!had.has(line)) lines.push(`unexpected: ${line.slice(0, 120)}`);
  }
  return lines.slice(0, limit);
}
