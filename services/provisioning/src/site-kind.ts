/** What the kinds of sites need. */
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";

export const needsPhp = (kind: SiteKind): boolean => kind !== SiteKind.STATIC;

/** Applications that cannot do without a database. */
export const bringsDatabase = (kind: SiteKind): boolean =>
  kind === SiteKind.WORDPRESS || kind === SiteKind.LARAVEL;

/** The folder that visitors see. */
export const webRootOf = (kind: SiteKind, rootPath: string): string =>
  kind === SiteKind.LARAVEL ? `${rootPath}/current/public` : `${rootPath}/public`;
