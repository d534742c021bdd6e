/** The backup service. */
import { serve } from "@chom/shared/service/serve";
import { cast, settings } from "./cast.ts";

await serve({
  name: "backup",
  migrations: new URL("../migrations", import.meta.url),
  settings,
  cast,
});
