// One stream of changes of a workspace, for any number of pages: shared by `live-worker.js`, or of one page alone.
// A page that joins says the cursor up to which it knows everything; a stream begins there, or the page is told to look again.

const [RETRY_MS, RETRY_MOST_MS] = [1000, 60000]; // where an answer was a refusal, as when the session is over
const KINDS = [
  "jobs", "schedules", "onlineEndpoints", "onlineEndpoints/deployments", "batchEndpoints", "batchEndpoints/deployments",
  "models/versions", "data/versions", "environments/versions", "components/versions", "computes", "datastores", "sharedLinks", "savedViews",
].map((kind) => `workspaces/${kind}`).concat("Microsoft.Insights/metricAlerts").join(",");

class Feed {
  constructor(url, cursor, ended) {
    this.url = url;
    this.cursor = cursor;
    this.ended = ended;
    this.readers = new Set();
    this.state = "connecting";
    this.again = RETRY_MS;
    this.open();
  }

  open() {
    const after = new URLSearchParams({ after: this.cursor, kind: KINDS });
    this.source = new EventSource(`${this.url}${this.url.includes("?") ? "&" : "?"}${after}`);
    this.source.onopen = () => { this.again = RETRY_MS; this.say("live"); };
    this.source.onmessage = (event) => {
      this.cursor = event.lastEventId;
      this.tell({ change: JSON.parse(event.data) });
    };
    this.source.onerror = () => {
      this.say("away");
      if (this.source.readyState !== EventSource.CLOSED) return; // it comes back by itself
      this.tell({ refused: true });
      this.timer = setTimeout(() => this.open(), this.again);
      this.again = Math.min(2 * this.again, RETRY_MOST_MS);
    };
  }

  /** From the cursor of a page that was loaded just now: the one before may mean nothing any more. */
  begin(cursor) {
    clearTimeout(this.timer);
    this.cursor = cursor;
    this.open();
    this.tell({ resync: true });
  }

  say(state) {
    this.state = state;
    this.tell({ state });
  }

  tell(message) {
    for (const reader of this.readers) reader(message);
  }

  leave(reader) {
    this.readers.delete(reader);
    if (this.readers.size) return;
    clearTimeout(this.timer);
    this.source.close();
    this.ended();
  }
}

const feeds = new Map();

/** `reader` gets {change}, {state}, {resync: true} and {refused: true}; what is returned ends that. */
export function join(url, cursor, reader) {
  let feed = feeds.get(url);
  if (!feed) {
    feed = new Feed(url, cursor, () => feeds.delete(url));
    feeds.set(url, feed);
  } else if (feed.source.readyState === EventSource.CLOSED) feed.begin(cursor);
  else if (feed.cursor !== cursor) reader({ resync: true });
  feed.readers.add(reader);
  reader({ state: feed.state });
  return () => feed.leave(reader);
}
