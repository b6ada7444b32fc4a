// The AI SDK with its provider for services that speak OpenAI's dialect.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { experimental_generateImage, generateImage } from "ai";
import { check, failure, few, fullUrl, key, prompt, sizeOf, url } from "./checks.mjs";

const generate = generateImage ?? experimental_generateImage;
const here = (baseURL, apiKey = key) => createOpenAICompatible({ name: "here", baseURL: `${baseURL}/v1`, apiKey });
const model = here(url).imageModel("demo");
const draw = (options) => generate({ model, prompt, maxRetries: 0, providerOptions: { here: few }, ...options });

// image, size, seed
const one = await draw({ size: "640x320" });
check(sizeOf(one.image.base64).join() === "640,320", "the size is the one asked for");
check(one.image.mediaType === "image/png", "the format is known");
const again = await draw({ size: "640x320" });
check(again.image.base64 === one.image.base64, "the same seed gives the same image");
const many = await draw({ n: 11, providerOptions: { here: { steps: 1 } } });
check(many.images.length === 11, "more than ten images come, in several requests");
check(new Set(many.images.map((image) => image.base64)).size === 11, "and each is another");

// errors
for (const [options, status, words] of [
  [{ model: here(url, "wrong").imageModel("demo") }, 401, "key"],
  [{ model: here(url).imageModel("nope") }, 404, "model"],
  [{ size: "0x0" }, 400, "size"],
  [{ prompt: "" }, 400, "prompt"],
  [{ model: here(fullUrl).imageModel("demo") }, 429, "try again"],
]) {
  const error = await failure(draw(options), `${status}`);
  check(error.statusCode === status && error.message.includes(words), `${status} is told: ${error.message}`);
}
const full = await failure(draw({ model: here(fullUrl).imageModel("demo") }), "a full service");
check(Number(full.responseHeaders["retry-after"]) <= 60, "it is told when to come back");

// an aborted request harms nobody
const aborting = new AbortController();
const endless = draw({ abortSignal: aborting.signal, providerOptions: { here: { steps: 150 } } });
setTimeout(() => aborting.abort(), 300);
check((await failure(endless, "an aborted request")).name === "AbortError", "an aborted request ends at once");
check((await draw({})).images.length === 1, "the next request is answered");
