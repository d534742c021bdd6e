CREATE INDEX "certificates_by_end" ON "ssl"."certificates" ("tenant", "not_after") WHERE "serial" <> '';
