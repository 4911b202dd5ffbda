// Server-sent events, as far as this server uses them: one JSON object in each `data:` field.

/** Yield the JSON objects of a response's event stream, each as soon as it is there. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const event = parsed(line);
        if (event) yield event;
      }
    }
  } finally {
    // Leaving early closes the connection; a connection that has failed already has nothing left to close.
    reader.cancel().catch(() => {});
  }
}

function parsed(line) {
  if (!line.startsWith("data:")) return null;
  const data = line.slice(5).trim();
  return data && data !== "[DONE]" ? JSON.parse(data) : null;
}
