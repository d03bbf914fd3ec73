"use strict";
// Counts what goes wrong, a blocked resource included, where a check of the page can read it.
(() => {
  const root = document.documentElement;
  root.dataset.errors = "0";
  const note = (text) => {
    root.dataset.errors = String(Number(root.dataset.errors) + 1);
    root.dataset.error = text;
  };
  window.addEventListener("error", (event) => note(event.message || "a resource failed"), true);
  window.addEventListener("unhandledrejection", (event) => note(String(event.reason)));
  document.addEventListener("securitypolicyviolation", (event) => note("blocked: " + event.violatedDirective));
})();
