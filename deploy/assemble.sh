#!/bin/sh
# Puts one service (or the command line, as `cli`) with its run-time dependencies into a folder of their own:
#   deploy/assemble.sh backup /app
# main.ts in that folder starts it. Only what the lockfile names is installed, and no install script is run.
set -eu
service=$1
target=$2
root=$(cd "$(dirname "$0")/.." && pwd)
if [ "$service" = cli ]; then part=packages/cli; else part=services/$service; fi
if [ ! -f "$root/$part/src/main.ts" ]; then
  echo "assemble.sh: there is no $part/src/main.ts" >&2
  exit 2
fi
mkdir -p "$target/packages" "$target/$(dirname "$part")"
cd "$root"
# Every package.json of the workspace, for the lockfile to fit; sources of these three only.
tar -cf - package.json pnpm-lock.yaml pnpm-workspace.yaml patches packages/*/package.json services/*/package.json |
  tar -xf - -C "$target"
tar --exclude='*.test.ts' --exclude=node_modules --exclude=testing -cf - \
  packages/proto packages/shared "$part" | tar -xf - -C "$target"
cd "$target"
npx -y pnpm@12.21.0 install --frozen-lockfile --prod --ignore-scripts --no-optional --filter "@chom/$service..." >&2
for folder in packages/* services/*; do
  case $folder in
    packages/proto | packages/shared | "$part") ;;
    *) rm -rf "$folder" ;;
  esac
done
echo "import \"./$part/src/main.ts\";" >main.ts
