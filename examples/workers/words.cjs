// The methods of the protocol words/v1, for socketio.cjs. Schemas are JSON Schema;
// what doesn't fit them is refused before it comes here.
const { gzipSync } = require("zlib");
const { setTimeout: sleep } = require("timers/promises");

const text = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };

exports.protocol = "words/v1";
exports.methods = {
  count: {
    description: "Counts words.",
    parameters: text,
    result: { type: "object", properties: { words: { type: "integer" } } },
    run: ({ text }) => ({ words: text.split(/\s+/).filter(Boolean).length }),
  },
  spell: {
    description: "Spells a text, slowly: it can be watched and cancelled.",
    parameters: text,
    run: async ({ text }, { progress, signal }) => {
      for (const letter of text) {
        progress(letter);
        await sleep(500, undefined, { signal });
      }
      return { spelled: [...text].join("-") };
    },
  },
  zip: {
    description: "Compresses a text. A Buffer in a result is base64 where it arrives.",
    parameters: text,
    run: ({ text }) => ({ data: gzipSync(text) }),
  },
};
