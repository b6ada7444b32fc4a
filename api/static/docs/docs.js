// Shows openapi.json with Swagger UI, and lets the examples about a job use the job that was submitted last.
"use strict";

const EXAMPLE_JOB_ID = "0123456789abcdef0123456789abcdef";
const EXAMPLE_KEY = "order-4711";
const EXAMPLE_IMAGE_NAME = "0000-7.png";
const last = { job: "", image: "" };

// a finished job's answer names its images; an image itself carries the job's id in a header
function remember(response) {
  const body = response.body || {};
  const job = response.headers["x-task-id"] || body.task_id || body.id;
  if (typeof job === "string" && /^[0-9a-f]{32}$/.test(job)) {
    last.job = job;
  }
  const links = Array.isArray(body.Images) ? body.Images : [];
  const link = links.find((each) => each.startsWith("/images/"));
  if (link) {
    [, last.job, last.image] = link.match(/^\/images\/([^/]+)\/([^/]+)$/);
  }
  const file = /filename="([^"]+\.(?:png|jpg|webp))"/.exec(response.headers["content-disposition"] || "");
  if (file) {
    last.image = file[1];
  }
  return response;
}

function fillIn(request) {
  if (last.job) {
    request.url = request.url.replace(EXAMPLE_JOB_ID, last.job);
  }
  if (last.image) {
    request.url = request.url.replace(`/${EXAMPLE_IMAGE_NAME}`, `/${last.image}`);
  }
  // every execution of an example is a request of its own; with a key of the reader's own it is what it says
  if (request.headers && request.headers["Idempotency-Key"] === EXAMPLE_KEY) {
    request.headers["Idempotency-Key"] += `-${Date.now()}`;
  }
  return request;
}

// without keys of the operator's own the public one opens the service, and the examples work as they are
function giveKeys(ui) {
  const schemes = ui.specSelectors.specJson().getIn(["components", "securitySchemes"]);
  for (const [name, scheme] of schemes ? schemes.entries() : []) {
    const key = scheme.get("x-default-key");
    if (key && name === "key") {
      ui.preauthorizeApiKey(name, key);
    }
  }
}

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#document",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  filter: true,
  persistAuthorization: false,
  validatorUrl: null,
  requestInterceptor: fillIn,
  responseInterceptor: remember,
  onComplete: () => giveKeys(ui),
});
