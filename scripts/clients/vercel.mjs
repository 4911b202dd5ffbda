// One turn of Vercel's AI SDK: node vercel.mjs openai|openai-chat|anthropic URL MODEL PICTURE "first turn"|...
import { createRequire } from "node:module";
import { readFileSync, writeFileSync, existsSync } from "node:fs";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.CLIENTS}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const [provider, url, model, picture, turn] = process.argv.slice(2);

const { generateText, streamText, tool, stepCountIs } = await load("ai");
const { z } = await load("zod");

async function chosen() {
  if (provider === "anthropic") {
    const { createAnthropic } = await load("@ai-sdk/anthropic");
    return createAnthropic({ baseURL: `${url}/v1`, apiKey: "none-needed" })(model);
  }
  const { createOpenAI } = await load("@ai-sdk/openai");
  const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none-needed" });
  return provider === "openai-chat" ? openai.chat(model) : openai(model);
}

const read_secret = tool({
  description: "Read a file",
  inputSchema: z.object({ path: z.string() }),
  execute: async ({ path }) => readFileSync(path, "utf8"),
});

const kept = "conversation.json";
const before = turn === "second turn" && existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : [];
const content = {
  "first turn": "TURN 1",
  "second turn": "TURN 2",
  tool: "TURN 3: READ secret.txt",
  picture: [
    { type: "text", text: "TURN 4" },
    { type: "image", image: readFileSync(picture), mediaType: "image/png" },
  ],
}[turn];
const messages = [...before, { role: "user", content }];
const asked = { model: await chosen(), messages, tools: { read_secret }, stopWhen: stepCountIs(3) };

if (turn === "second turn") {
  const whole = await generateText(asked);
  console.log(whole.text);
} else {
  const streamed = streamText({ ...asked, onError: ({ error }) => console.error(error) });
  for await (const piece of streamed.textStream) process.stdout.write(piece);
  const { messages: replies } = await streamed.response;
  if (turn === "first turn") writeFileSync(kept, JSON.stringify([...messages, ...replies]));
}
