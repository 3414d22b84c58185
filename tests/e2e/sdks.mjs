// Drives the gateway at process.argv[2] with the providers' own Node SDKs and prints what they made of it as JSON.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const root = process.argv[2];
const openai = new OpenAI({ baseURL: `${root}/v1`, apiKey: "no-key", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: root, apiKey: "no-key", maxRetries: 0 });
const question = [{ role: "user", content: "list it" }];
const told = {};

const whole = await openai.chat.completions.create({ model: "gpt-4o", messages: question });
told.chat = whole.choices[0].message;

let text = "";
let args = "";
for await (const chunk of await openai.chat.completions.create({ model: "gpt-4o", messages: question, stream: true })) {
  if (chunk.usage !== undefined) told.usageShown = true;
  text += chunk.choices[0]?.delta?.content ?? "";
  args += chunk.choices[0]?.delta?.tool_calls?.[0]?.function?.arguments ?? "";
}
told.chatStream = { text, args };

const response = await openai.responses.stream({ model: "gpt-4o", input: "list it" }).finalResponse();
told.responses = response.output_text;

const message = await anthropic.messages
  .stream({ model: "claude-sonnet-4-6", max_tokens: 100, messages: question })
  .finalMessage();
told.message = message;

for (const [name, ask] of Object.entries({
  openai: () => openai.chat.completions.create({ model: "gpt-4o", messages: "no list" }),
  anthropic: () => anthropic.messages.create({ model: "claude-sonnet-4-6", max_tokens: 1, messages: "no list" }),
})) {
  try {
    await ask();
  } catch (error) {
    told[`${name}Error`] = [error.constructor.name, error.status, error.message];
  }
}
process.stdout.write(JSON.stringify(told));
