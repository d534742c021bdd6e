import { permissions } from "@chom/proto/permissions";
import { resources } from "@chom/proto/resources";
import { expect, test } from "vitest";
import { checkContract, grants, isRole, roles, withoutRole } from "./roles.ts";

test("case 38: every permission of the contract is in a role, and each role has all of the one before", () => {
  expect(withoutRole(permissions)).toEqual([]);
  const [viewer, operator, admin, owner] = [roles.viewer, roles.operator, roles.admin, roles.owner];
  expect(operator).toEqual(expect.arrayContaining([...viewer]));
  expect(admin).toEqual(expect.arrayContaining([...operator]));
  expect(owner).toEqual(expect.arrayContaining([...admin]));
  for (const set of Object.values(roles)) expect(new Set(set).size).toBe(set.length);
});

test("case 38: a viewer can call nothing that changes, restores or reveals", () => {
  const open = Object.entries(permissions)
    .filter(([, wanted]) => grants(roles.viewer, wanted))
    .map(([path]) => path.slice(path.lastIndexOf("/") + 1));
  expect(open.length).toBeGreaterThan(15);
  // Looking at a plan changes nothing.
  expect(open.filter((name) => !/^(Get|List|Watch|Preview|Subscribe)/.test(name))).toEqual([]);
  for (const [path, wanted] of Object.entries(permissions)) {
    if (
      /Reveal|Restore|Rotate(Key|Due)|Clean|Deprovision|Forget/.test(path) &&
      !/Preview/.test(path)
    ) {
      expect([path, grants(roles.viewer, wanted) && !/Get|List/.test(path)]).toEqual([path, false]);
    }
  }
});

test("nothing grants what only a service may do", () => {
  expect(grants(["*", "service", "public"], "service")).toBe(false);
  expect(grants([], "site.read")).toBe(false);
  expect(isRole("root")).toBe(false);
  expect(isRole("toString")).toBe(false);
});

test("the contract names every permission, role and resource", () => {
  checkContract(Object.keys(permissions), permissions, resources);
});

test("a method without permission or role, and an id without resource, are named", () => {
  const path = "/chom.toy.v1.ToyService/Play";
  const check = (wanted: Record<string, string>, ids: Record<string, string>) => () =>
    checkContract([path], wanted, { [path]: ids });
  expect(check({}, {})).toThrow(`${path} declares no permission`);
  expect(check({ [path]: "toy.play" }, {})).toThrow(`${path} (toy.play) is in no role`);
  expect(check({ [path]: "site.read" }, { toyId: "" })).toThrow("field toyId declares no resource");
  expect(check({ [path]: "site.read" }, { toyId: "toy" })).not.toThrow();
  expect(check({ [path]: "service" }, {})).not.toThrow();
});
