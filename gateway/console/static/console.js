// Comfort only: every page is complete without it.

// A copy button on each block marked for it, where the browser lets us write to the clipboard.
if (navigator.clipboard) {
  for (const block of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${block.dataset.copy}`);
    const status = document.createElement("span");
    status.className = "unseen";
    status.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.querySelector("code").textContent);
        button.textContent = status.textContent = "Copied";
      } catch {
        button.textContent = status.textContent = "Not copied";
      }
      setTimeout(() => {
        button.textContent = "Copy";
        status.textContent = "";
      }, 2000);
    });
    block.append(button, status);
  }
}

// A double click would cancel the first answer, and with it the only sight of the key.
const REPEAT_MS = 5000;
for (const form of document.forms) {
  let sentAt = -REPEAT_MS;
  form.addEventListener("submit", (event) => {
    if (event.timeStamp - sentAt < REPEAT_MS) event.preventDefault();
    else sentAt = event.timeStamp;
  });
}

// Some browsers keep a left page alive in memory; the key must not come back with it.
if (document.getElementById("api-key")) {
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.replace("/signup");
  });
}
