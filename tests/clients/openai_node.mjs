// The `openai` package for Node: its calls for images, its errors, its streams.

import OpenAI, { toFile } from "openai";
import { cancel, check, failure, few, fullUrl, key, prompt, sizeOf, url } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });

// image, size, seed
const one = await client.images.generate({ prompt, model: "demo", size: "640x320", response_format: "b64_json", ...few });
check(sizeOf(one.data[0].b64_json).join() === "640,320" && one.size === "640x320", "the size is the one asked for");
check(one.data[0].url === undefined, "base64 alone comes where it is asked for");
check(one._request_id === one.id, "the request id is the job's");
const again = await client.images.generate({ prompt, model: "demo", size: "640x320", ...few });
check(again.data[0].b64_json === one.data[0].b64_json, "the same seed gives the same image");
check(again.id !== one.id, "equal requests are jobs of their own");
const two = await client.images.generate({ prompt, model: "gpt-image-1", n: 2, ...few });
check(two.data.map((image) => image.seed).join() === "7,8", "each image has the next seed");

// a link, an edit, a variation, the models
const linked = await client.images.generate({ prompt, model: "dall-e-3", response_format: "url", ...few });
const fetched = Buffer.from(await (await fetch(linked.data[0].url)).arrayBuffer());
check(sizeOf(fetched.toString("base64"))[0] === 128, "a link leads to the image");
const file = () => toFile(fetched, "image.png", { type: "image/png" });
const edited = await client.images.edit({ image: await file(), prompt, ...few });
check(sizeOf(edited.data[0].b64_json).join() === "128,128", "an edit has the size of its image");
const several = await client.images.edit({ image: [await file(), await file()], prompt, ...few });
check(several.warnings.some((text) => text.startsWith("image:")), "a second image is told of");
const varied = await client.images.createVariation({ image: await file(), ...few });
check(varied.data.length === 1, "a variation needs no prompt");
check((await client.models.list()).data[0].id === "demo", "the default model is listed first");

// a stream, and one that is cancelled
const events = [];
const streamed = { prompt, stream: true, steps: 60, seed: 1 };
for await (const event of await client.images.generate({ ...streamed, partial_images: 2 })) events.push(event);
check(events.at(-1).type === "image_generation.completed", "a stream ends with the image");
check(events.length > 1 && events[0].type === "image_generation.partial_image", "a stream shows previews");
const { data: endless, response } = await client.images
  .generate({ ...streamed, steps: 999, n: 8 })
  .withResponse();
await cancel(response.headers.get("x-request-id"));
const cancelled = await failure((async () => { for await (const _ of endless); })(), "a cancelled stream");
check(cancelled instanceof OpenAI.APIError && cancelled.code === "cancelled", "a cancelled stream says so");

// errors
const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong" });
const refused = await failure(stranger.images.generate({ prompt }), "a wrong key");
check(refused instanceof OpenAI.AuthenticationError && refused.code === "invalid_api_key", "a wrong key is told");
const missing = await failure(client.images.generate({ prompt, model: "nope" }), "an unknown model");
check(missing instanceof OpenAI.NotFoundError && missing.param === "model", "an unknown model is told");
for (const [body, param] of [[{ prompt, size: "banana" }, "size"], [{}, "prompt"], [{ prompt: "" }, "prompt"]]) {
  const bad = await failure(client.images.generate(body), `a bad ${param}`);
  check(bad instanceof OpenAI.BadRequestError && bad.param === param, `a bad ${param} is named`);
}
const busy = new OpenAI({ baseURL: `${fullUrl}/v1`, apiKey: key, maxRetries: 0 });
const full = await failure(busy.images.generate({ prompt }), "a full service");
check(full instanceof OpenAI.RateLimitError && full.headers.get("retry-after") <= 60, "it is told when to come back");

// a lost answer: the retry is marked, and joins its job
let lost;
const losing = new OpenAI({
  baseURL: `${url}/v1`,
  apiKey: key,
  fetch: async (...request) => {
    const answer = await fetch(...request);
    if (lost) return answer;
    lost = answer.headers.get("x-request-id");
    throw new TypeError("the connection broke");
  },
});
const found = await losing.images.generate({ prompt: `${prompt}, lost`, ...few });
check(found.id === lost, "a retry is given the job of the lost answer");
