/** For calls about what all tenants share. */
import { security } from "../failure/failure.ts";
import type { Caller } from "./unary.ts";

/** Failure `security` "not-permitted" for every caller but those of the tenant `platform`. */
export function platformOnly({ tenant }: Pick<Caller, "tenant">): void {
  if (tenant === "platform") return;
  throw security("not-permitted", "only the tenant platform looks after what all tenants share");
}
