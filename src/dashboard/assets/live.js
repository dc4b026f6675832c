/** What is live can be paused, and says so when nothing new has come for a while. */
(() => {
  const STILL_MS = 9_000;
  const pause = document.querySelector("#pause");
  if (pause === null) return;
  let paused = false;
  let heardMs = performance.now();

  const show = () => {
    const still = !paused && performance.now() - heardMs > STILL_MS;
    pause.textContent = paused ? "▶ Resume updates" : still ? "⚠ No news from the server" : "‖ Pause updates";
    pause.setAttribute("aria-pressed", String(paused));
    document.body.classList.toggle("still", still);
  };
  const heard = () => {
    heardMs = performance.now();
    show();
  };
  pause.addEventListener("click", () => {
    paused = !paused;
    heard();
  });
  document.addEventListener("htmx:sse:before:message", (event) => {
    if (paused) event.preventDefault();
    else heard();
  });
  document.addEventListener("htmx:before:request", (event) => {
    const isLive = event.target instanceof Element && event.target.matches("[data-live]:not([hx-sse\\:connect])");
    // An open dialog must not be changed under somebody's hands, nor a text that they select.
    const isBusy = document.querySelector(":popover-open") !== null || String(getSelection() ?? "") !== "";
    if (isLive && (paused || isBusy)) event.preventDefault();
  });
  document.addEventListener("htmx:after:request", heard);
  document.addEventListener("inturn:news", heard);
  document.addEventListener("visibilitychange", heard);
  setInterval(show, 1_000);
})();
