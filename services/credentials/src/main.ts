/** The credentials service: servers, the keys that open them, and the signer that alone uses those keys. */
import { serve } from "@chom/shared/service/serve";
import { flag } from "@chom/shared/service/settings";
import { keyStore } from "./key-store.ts";
import { localSigner } from "./login.ts";
import { serverList } from "./projections.ts";
import { retireKeys } from "./reactors.ts";
import { retireKey } from "./retire-key.ts";
import { rotateKey } from "./rotate-key.ts";
import { credentialsRpc } from "./rpc.ts";
import { signerRpc } from "./signer-rpc.ts";

await serve({
  name: "credentials",
  migrations: new URL("../migrations", import.meta.url),
  settings: {
    allowPrivate: flag("CHOM_ALLOW_PRIVATE_ADDRESSES", { fallback: false }),
  },
  cast: (app, { allowPrivate }) => {
    const store = keyStore(app);
    const signer = localSigner({ app, store, allowPrivate });
    const rotate = rotateKey({ app, store });
    const retire = retireKey({ app, store });
    return {
      jobs: [rotate, retire],
      reactors: [retireKeys(retire)],
      projections: [serverList],
      rpc: [
        credentialsRpc(app, { store, ports: signer, rotate, allowPrivate }),
        signerRpc(app, signer),
      ],
      signer,
    };
  },
});
