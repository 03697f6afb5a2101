"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [ink, card, line] = ["--ink", "--card", "--line"].map((name) => style.getPropertyValue(name).trim());
  const changes = { "font.color": ink, "hoverlabel.bgcolor": card, "hoverlabel.bordercolor": line, "hoverlabel.font.color": ink };
  for (const axis of ["xaxis", "yaxis"]) {
    changes[`${axis}.gridcolor`] = changes[`${axis}.linecolor`] = changes[`${axis}.zerolinecolor`] = line;
  }
  return changes;
}

for (const box of document.querySelectorAll("[data-figure]")) {
  const { data, layout } = figures[box.dataset.figure];
  layout.hoverlabel = { align: "left" };
  Plotly.newPlot(box, data, layout, { responsive: true, displayModeBar: false, scrollZoom: "zoom" in box.dataset })
    .then(() => Plotly.relayout(box, colours()));
}
dark.addEventListener("change", () => {
  for (const box of document.querySelectorAll("[data-figure]")) Plotly.relayout(box, colours());
});
