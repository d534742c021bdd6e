/** The credentials service: servers, the keys that open them, and the signer that alone uses those keys. */
import { serve } from "@chom/shared/service/serve";
import { flag, int } from "@chom/shared/service/settings";
import { auditedPorts, auditedStore, keyDecisions } from "./audited-keys.ts";
import { keyStore } from "./key-store.ts";
import { localSigner } from "./login.ts";
import { serverList } from "./projections.ts";
import { retireKeys } from "./reactors.ts";
import { retireKey } from "./retire-key.ts";
import { type RotateDueParts, rotateDue } from "./rotate-due.ts";
import { rotateKey } from "./rotate-key.ts";
import { defaultMaxAgeDays, rotationStates } from "./rotation-plan.ts";
import { rotationsRpc } from "./rotations-rpc.ts";
import { credentialsRpc } from "./rpc.ts";
import { signerRpc } from "./signer-rpc.ts";

await serve({
  name: "credentials",
  migrations: new URL("../migrations", import.meta.url),
  settings: {
    allowPrivate: flag("CHOM_ALLOW_PRIVATE_ADDRESSES", { fallback: false }),
    maxAgeDays: int("CHOM_KEY_MAX_AGE_DAYS", { min: 1, max: 3_650, fallback: defaultMaxAgeDays }),
  },
  cast: (app, { allowPrivate, maxAgeDays }) => {
    const decided = keyDecisions(app);
    const store = auditedStore(keyStore(app), decided);
    const signer = auditedPorts(localSigner({ app, store, allowPrivate }), decided);
    const rotate = rotateKey({ app, store, decided });
    const retire = retireKey({ app, store, decided });
    const states: RotateDueParts["states"] = (query) =>
      rotationStates(app.db, { ...query, maxAgeDays });
    const due = rotateDue({ app, rotate, states });
    return {
      jobs: [rotate, retire, due],
      reactors: [retireKeys(retire)],
      projections: [serverList],
      rpc: [
        credentialsRpc(app, { store, ports: signer, rotate, allowPrivate }),
        rotationsRpc(app, { rotateDue: due, maxAgeDays }),
        signerRpc(app, signer),
      ],
      signer,
    };
  },
});
