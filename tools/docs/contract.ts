/** The contracts as data, with their comments: what references are generated from. */
import { execFileSync } from "node:child_process";

export type Field = {
  readonly name: string;
  readonly jsonName: string;
  readonly type: string;
  readonly typeName?: string;
  readonly label?: string;
  readonly options?: Readonly<Record<string, unknown>>;
};
type Message = {
  readonly name: string;
  readonly field?: readonly Field[];
  readonly nestedType?: readonly Message[];
  readonly options?: Readonly<Record<string, unknown>>;
};
type EnumType = { readonly name: string; readonly value: readonly { readonly name: string }[] };
type Method = {
  readonly name: string;
  readonly inputType: string;
  readonly outputType: string;
  readonly serverStreaming?: boolean;
  readonly clientStreaming?: boolean;
  readonly options?: Readonly<Record<string, unknown>>;
};
type Service = { readonly name: string; readonly method?: readonly Method[] };
export type File = {
  readonly name: string;
  readonly package: string;
  readonly messageType?: readonly Message[];
  readonly enumType?: readonly EnumType[];
  readonly service?: readonly Service[];
  readonly sourceCodeInfo?: {
    readonly location: readonly {
      readonly path?: readonly number[];
      readonly leadingComments?: string;
    }[];
  };
};

export type Contract = {
  /** CHOM's own files, by name. */
  readonly files: readonly File[];
  /** Messages by full name with a leading dot, as fields name them. */
  readonly messages: ReadonlyMap<string, Message>;
  readonly enums: ReadonlyMap<string, EnumType>;
  /** The comment above what stands at a path of a file, in one line; "" where there is none. */
  readonly comment: (file: File, path: readonly number[]) => string;
};

/** Numbers of descriptor.proto: where messages, services and what is in them stand. */
export const at = { message: 4, enum: 5, service: 6, method: 2, field: 2, package: 2 } as const;

export const option = (
  options: Readonly<Record<string, unknown>> | undefined,
  name: string,
): unknown => options?.[`[chom.options.v1.${name}]`];

/** Reads the contracts of `proto/` with buf. */
export function readContract(): Contract {
  const text = execFileSync(
    "node_modules/.bin/buf",
    ["build", "-o", "-#format=json", "--exclude-path", "packages/e2e/src/sixth-family/proto/chom"],
    {
      encoding: "utf8",
      maxBuffer: 64 << 20,
    },
  );
  const all = (JSON.parse(text) as { file: File[] }).file;
  const files = all
    .filter(({ package: name }) => name?.startsWith("chom."))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const named = <T extends { name: string }>(of: (file: File) => readonly T[] | undefined) =>
    new Map(
      all.flatMap((file) =>
        (of(file) ?? []).map((type) => [`.${file.package}.${type.name}`, type] as const),
      ),
    );
  const messages = new Map(named(({ messageType }) => messageType));
  for (const [name, message] of [...messages]) {
    for (const nested of message.nestedType ?? []) messages.set(`${name}.${nested.name}`, nested);
  }
  return { files, messages, enums: named(({ enumType }) => enumType), comment: commentAt };
}

function commentAt(file: File, path: readonly number[]): string {
  const key = path.join(".");
  const found = file.sourceCodeInfo?.location.find((place) => place.path?.join(".") === key);
  return (found?.leadingComments ?? "").trim().replace(/\s*\n\s*/g, " ");
}
