/** The credentials service: servers, the keys that open them, and the signer that alone uses those keys. */
import { networks } from "@chom/shared/input/networks";
import type { App } from "@chom/shared/service/app";
import { serve } from "@chom/shared/service/serve";
import { int } from "@chom/shared/service/settings";
import { reportDenials, type SignerDenials } from "@chom/shared/service/signer-denials";
import { auditedPorts, auditedStore, keyDecisions } from "./audited-keys.ts";
import { keyLineSettings } from "./key-lines.ts";
import { keyRows } from "./key-rows.ts";
import { keyStore } from "./key-store.ts";
import { keysRpc } from "./keys-rpc.ts";
import { localSigner } from "./login.ts";
import { serverList } from "./projections.ts";
import { publishTokens } from "./publish-token.ts";
import { retireKeys } from "./reactors.ts";
import { retireKey } from "./retire-key.ts";
import { type RotateDueParts, rotateDue } from "./rotate-due.ts";
import { rotateKey } from "./rotate-key.ts";
import { defaultMaxAgeDays, rotationStates } from "./rotation-plan.ts";
import { rotationsRpc } from "./rotations-rpc.ts";
import { credentialsRpc } from "./rpc.ts";
import { signerGuard, signerLimits } from "./signer-guard.ts";
import { showKeys } from "./show-keys.ts";
import { signerRpc } from "./signer-rpc.ts";
import { tokenList } from "./token-rows.ts";
import { tokensRpc } from "./tokens-rpc.ts";

/** Best effort: the audit and the log have it too. */
const tellDenials = (app: App, denials: SignerDenials): Promise<void> =>
  reportDenials(app.nats, denials).catch((err: unknown) =>
    app.logger.warn({ err }, "denials of the signer could not be reported"),
  );

await serve({
  name: "credentials",
  migrations: new URL("../migrations", import.meta.url),
  settings: {
    networks: networks("CHOM_ALLOWED_NETWORKS"),
    maxAgeDays: int("CHOM_KEY_MAX_AGE_DAYS", { min: 1, max: 3_650, fallback: defaultMaxAgeDays }),
    ...keyLineSettings,
    ...signerLimits,
  },
  keyRows: ({ db }) => keyRows(db, () => new Date()),
  cast: (app, { networks, maxAgeDays, keyFrom, keyRunner, ...limits }) => {
    showKeys(app);
    const decided = keyDecisions(app);
    const store = auditedStore(keyStore(app), decided);
    const signer = auditedPorts(localSigner({ app, store, networks }), decided);
    const lines = { from: keyFrom, runner: keyRunner === "on" };
    const rotate = rotateKey({ app, store, lines, decided });
    const retire = retireKey({ app, store, decided });
    const guard = signerGuard(
      { ...app, report: (service, count) => void tellDenials(app, { service, count }) },
      limits,
    );
    const states: RotateDueParts["states"] = (query) =>
      rotationStates(app.db, { ...query, maxAgeDays });
    const due = rotateDue({ app, rotate, states });
    return {
      jobs: [rotate, retire, due],
      reactors: [retireKeys(retire), publishTokens(app)],
      projections: [serverList, tokenList],
      rpc: [
        credentialsRpc(app, { store, ports: signer, rotate, networks, lines }),
        rotationsRpc(app, { rotateDue: due, maxAgeDays }),
        tokensRpc(app),
        keysRpc(app),
        signerRpc(app, { ports: signer, guard }),
      ],
      signer,
    };
  },
});
