/** Names of a site on its server, made from the site's id and never from its domain: they cannot collide or grow. */
import { hashId } from "@chom/shared/aggregate/id";

/** What everything of one site is called on its server. */
export type SiteNames = {
  /** Unix user and group; 14 characters, below every limit of useradd. */
  readonly systemUser: string;
  readonly rootPath: string;
  /** Database and database user. */
  readonly databaseName: string;
};

/** The names of a site; the same id always gives the same names. */
export function namesOf(siteId: string): SiteNames {
  const short = hashId("user", siteId).slice(0, 12);
  return {
    systemUser: `s-${short}`,
    rootPath: `/srv/sites/s-${short}`,
    databaseName: `s_${short}`,
  };
}
