// Search in a site that is opened from files: browsers allow no worker there, so its script runs in a hidden frame.
// The theme looks for IFrameWorker. See https://squidfunk.github.io/mkdocs-material/plugins/offline/
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<!doctype html><title>search</title>";
      this.ready = new Promise((ready, failed) => {
        frame.onload = () => {
          const { contentDocument: page, contentWindow: inside } = frame;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          const script = Object.assign(page.createElement("script"), { src: url, onerror: failed });
          script.onload = () => ready(inside);
          page.head.append(script);
        };
      });
      document.body.append(frame);
    }
    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }
  };
}
