// What the scripts share: the service they talk to, and checks that end a script with a sentence.

export const url = process.env.SERVICE_URL;
export const fullUrl = process.env.FULL_SERVICE_URL;
export const key = process.env.SERVICE_KEY;
export const prompt = "a red circle on a blue background";
export const few = { steps: 3, seed: 7 };

export function check(condition, what) {
  if (!condition) throw new Error(`not so: ${what}`);
}

// (width, height) of a PNG, from its first chunk
export function sizeOf(base64) {
  const bytes = Buffer.from(base64, "base64");
  check(bytes.subarray(1, 4).toString() === "PNG", "the image is a PNG");
  return [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
}

export async function failure(promise, what) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`not so: ${what} fails`);
}

export async function cancel(id) {
  const answer = await fetch(`${url}/cancel/${id}`, { method: "POST", headers: { "X-API-Key": key } });
  check(answer.ok, "the job can be cancelled");
}
