"use strict";
(() => {
  for (const table of document.querySelectorAll("table")) {
    const headings = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, at) => { cell.dataset.label = headings[at]; });
    table.classList.add("labelled");
  }
  const page = 40;
  const form = document.querySelector("#filter");
  if (!form) return;
  const prompts = [...document.querySelectorAll(".prompt")];
  const more = document.querySelector("#more");
  const count = document.querySelector("#count");
  let room = page;
  const show = () => {
    const { text, verdict, category, flag } = Object.fromEntries(new FormData(form));
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const prompt of prompts) {
      const data = prompt.dataset;
      const fits =
        (!verdict || data.verdict === verdict) &&
        (!category || data.category === category) &&
        (!flag || data.flags.split(" ").includes(flag)) &&
        (!words.length || (all => words.every(word => all.includes(word)))(prompt.textContent.toLowerCase()));
      if (fits) found += 1;
      prompt.hidden = !fits || found > room;
    }
    count.textContent = `${found} of ${prompts.length} prompts`;
    more.hidden = found <= room;
  };
  form.addEventListener("input", () => { room = page; show(); });
  form.addEventListener("submit", event => event.preventDefault());
  more.addEventListener("click", () => { room += 5 * page; show(); });
  form.hidden = false;
  show();
})();
