// The Vercel AI SDK.

import { appendFileSync } from "node:fs";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { EPISODE_WIRE, EPISODE_STREAMED, EPISODE_MODEL, EPISODE_EXECUTED } = process.env;

const models = {
  chat: () => createOpenAI().chat(EPISODE_MODEL),
  responses: () => createOpenAI()(EPISODE_MODEL),
  messages: () => createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` })(EPISODE_MODEL),
};

const tools = {
  read_note: tool({
    description: "Read a note.",
    inputSchema: z.object({ name: z.string() }),
    execute: async ({ name }) => {
      appendFileSync(EPISODE_EXECUTED, `read_note ${name}\n`);
      return `The note ${name} is read.`;
    },
  }),
  run_shell: tool({
    description: "Run a shell command.",
    inputSchema: z.object({ command: z.string() }),
    execute: async () => {
      appendFileSync(EPISODE_EXECUTED, "run_shell\n");
      return "It ran.";
    },
  }),
};

const messages = [];
const answers = [];
for (const task of process.argv.slice(2)) {
  messages.push({ role: "user", content: task });
  const options = {
    model: models[EPISODE_WIRE](),
    system: "You help with notes.",
    messages,
    tools,
    stopWhen: stepCountIs(5),
  };
  const result = EPISODE_STREAMED === "yes" ? streamText(options) : await generateText(options);
  answers.push(await result.text);
  messages.push(...(await result.response).messages);
}
console.log("\n" + JSON.stringify({ answers }));
