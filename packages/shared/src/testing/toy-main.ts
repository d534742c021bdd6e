/** The toy family as a process, as `services/<family>/src/main.ts` are: for tests of roles, limits and signals. */
import { serve } from "../service/serve.ts";
import { toyFamily } from "./toy-family.ts";

await serve(toyFamily(new URL("./no-migrations", import.meta.url)));
