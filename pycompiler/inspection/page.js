"use strict";
// Shows the section that the address names: a stage, an operator of a stage, or the overview.
const sections = [...document.querySelectorAll("section")];
document.body.classList.add("scripted");

function show() {
  const target = document.getElementById(location.hash.slice(1)) || sections[0];
  const section = target.closest("section");
  for (const one of sections) one.classList.toggle("shown", one === section);
  for (const link of document.querySelectorAll(".drawing a")) {
    const href = link.getAttribute("href");
    link.firstElementChild.classList.toggle("chosen", href === "#" + section.id || href === "#" + target.id);
  }
  if (target === section) {
    // Side by side with the DAG the section begins at the top; below it, where the browser has gone.
    if (matchMedia("(min-width: 901px)").matches) requestAnimationFrame(() => scrollTo(0, 0));
  } else {
    const source = target.querySelector("details");
    if (source) source.open = true;
    target.scrollIntoView({ block: "center" });
  }
}

addEventListener("hashchange", show);
show();
