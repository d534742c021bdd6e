import { hostileTexts } from "@chom/shared/testing/hostile-text";
import { expect, test } from "vitest";
import { html, textOf } from "./html.ts";

test("case 58: values are text, in content and in attributes", () => {
  const name = `<img src=x onerror="alert('1')">&amp;`;
  expect(textOf(html`<p title="${name}">${name}</p>`)).toBe(
    '<p title="&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;">' +
      "&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;</p>",
  );
});

test("case 58: no hostile text ends a tag or an attribute", () => {
  const next = hostileTexts(7);
  for (let tried = 0; tried < 400; tried += 1) {
    const text = next();
    const made = textOf(html`<p title="${text}">${text}</p>`);
    expect(made.slice(10).replace(/<\/p>$/, "")).not.toMatch(/<|>.*>/s);
    expect(made.match(/"/g)).toHaveLength(2);
  }
});

test("markup within markup stays, lists are joined, and nothing is nothing", () => {
  const items = ["a", "<b>"].map((each) => html`<li>${each}</li>`);
  expect(textOf(html`<ul>${items}${undefined}${null}${false}${0}${7n}</ul>`)).toBe(
    "<ul><li>a</li><li>&lt;b&gt;</li>07</ul>",
  );
});

test("case 58: data that looks like markup is not taken for it", () => {
  const forged = JSON.parse('{"markup":"<script>","Symbol(markup)":"<script>"}') as never;
  expect(() => textOf(html`<p>${forged}</p>`)).toThrow(TypeError);
});
