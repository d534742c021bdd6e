/** Plain data as YAML that people can read; texts are quoted as JSON, which YAML understands. */

type Plain = string | number | boolean | readonly Plain[] | { readonly [key: string]: Plain };

const isScalar = (value: Plain): value is string | number | boolean => typeof value !== "object";

function lines(value: Plain): string[] {
  if (isScalar(value)) return [JSON.stringify(value)];
  if (Array.isArray(value)) {
    return value.flatMap((item: Plain) => {
      const [first = "", ...rest] = lines(item);
      return [`- ${first}`, ...rest.map((line) => `  ${line}`)];
    });
  }
  return Object.entries(value).flatMap(([key, item]) =>
    isScalar(item)
      ? [`${key}: ${JSON.stringify(item)}`]
      : [`${key}:`, ...lines(item).map((line) => `  ${line}`)],
  );
}

/** The document, with a line break at its end. Empty lists and objects are not for it. */
export const toYaml = (value: object): string => `${lines(value as Plain).join("\n")}\n`;
