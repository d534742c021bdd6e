// Generated from the proto options by tools/gen.ts. Do not edit.

/** By a job's name: its family, the method that starts it, that method's request type and permission. */
export const jobRequests: Readonly<
  Record<
    string,
    {
      readonly family: string;
      readonly path: string;
      readonly type: string;
      readonly permission: string;
    }
  >
> = {
  "backup.create": { family: "backup", path: "/chom.backup.v1.BackupService/CreateBackup", type: "chom.backup.v1.CreateBackupRequest", permission: "backup.create" },
  "backup.restore": { family: "backup", path: "/chom.backup.v1.BackupService/RestoreBackup", type: "chom.backup.v1.RestoreBackupRequest", permission: "backup.restore" },
  "backup.verify": { family: "backup", path: "/chom.backup.v1.BackupService/VerifyBackup", type: "chom.backup.v1.VerifyBackupRequest", permission: "backup.create" },
  "backup.database": { family: "backup", path: "/chom.backup.v1.DatabaseBackupsService/CreateDatabaseBackup", type: "chom.backup.v1.CreateDatabaseBackupRequest", permission: "database.backup" },
  "backup.clean": { family: "backup", path: "/chom.backup.v1.RetentionService/CleanBackups", type: "chom.backup.v1.CleanBackupsRequest", permission: "backup.clean" },
  "key.rotate": { family: "credentials", path: "/chom.credentials.v1.CredentialsService/RotateKey", type: "chom.credentials.v1.RotateKeyRequest", permission: "key.rotate" },
  "key.rotate-due": { family: "credentials", path: "/chom.credentials.v1.RotationsService/RotateDueKeys", type: "chom.credentials.v1.RotateDueKeysRequest", permission: "key.rotate" },
  "site.provision": { family: "provisioning", path: "/chom.provisioning.v1.ProvisioningService/ProvisionSite", type: "chom.provisioning.v1.ProvisionSiteRequest", permission: "site.provision" },
  "site.deprovision": { family: "provisioning", path: "/chom.provisioning.v1.ProvisioningService/DeprovisionSite", type: "chom.provisioning.v1.DeprovisionSiteRequest", permission: "site.deprovision" },
  "certificate.issue": { family: "ssl", path: "/chom.ssl.v1.SslService/IssueCertificate", type: "chom.ssl.v1.IssueCertificateRequest", permission: "certificate.issue" },
  "certificate.renew": { family: "ssl", path: "/chom.ssl.v1.SslService/RenewCertificate", type: "chom.ssl.v1.RenewCertificateRequest", permission: "certificate.issue" },
};
