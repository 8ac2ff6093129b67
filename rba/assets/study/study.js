"use strict";
// The page of a user study. It loads nothing but the files beside it and keeps the answers in this
// browser; they leave it as a download, or to the address that the study was built with.
(() => {
  const study = window.STUDY;
  const byId = (id) => document.getElementById(id);
  const words = {
    realism: {
      title: "How real it looks",
      text: "You see the same scene several times. Choose the picture that looks more like a real, whole one: no smudges, torn or invented parts.",
      pair: "Which picture looks more real?",
      set: "Which picture looks most real?",
    },
    fidelity: {
      title: "How true it is to the object",
      text: "You see a reference with an object, and pictures of the same object. Choose the picture whose object is more like that of the reference: shape, print, letters, colours.",
      pair: "In which picture is the object more like the reference?",
      set: "In which picture is the object most like the reference?",
    },
  };
  const letter = (place) => String.fromCharCode(65 + place);
  let state = null; // what is stored: rater, session, started, answers by question, at
  let questions = [];
  let shownAt = 0;
  let canStore = true;

  const storageName = (rater) => `study/${study.study}/${rater}`;

  function load(rater) {
    try {
      return JSON.parse(localStorage.getItem(storageName(rater)));
    } catch {
      canStore = false;
      return null;
    }
  }

  function store() {
    try {
      localStorage.setItem(storageName(state.rater), JSON.stringify(state));
    } catch {
      canStore = false;
    }
  }

  function show(id) {
    for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
    byId("bar").hidden = id === "start";
    window.scrollTo(0, 0);
  }

  function note(id, text) {
    byId(id).textContent = text;
    byId(id).hidden = !text;
  }

  function newSession() {
    const bytes = crypto.getRandomValues(new Uint8Array(8));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function raterOf(text) {
    const rater = /^\s*[0-9]{1,9}\s*$/.test(text) ? Number(text) : 0;
    return rater >= 1 && rater <= study.plan.length ? rater : 0;
  }

  function describeStart() {
    const rater = raterOf(byId("rater").value);
    const stored = rater ? load(rater) : null;
    const answered = stored ? Object.keys(stored.answers).length : 0;
    const total = study.plan[0].length;
    byId("begin-button").textContent = answered ? "Go on" : "Begin";
    if (answered === total) note("begin-note", `All questions of number ${rater} are answered in this browser.`);
    else if (answered) note("begin-note", `${answered} of ${total} questions of number ${rater} are answered in this browser.`);
    else note("begin-note", "");
  }

  function begin() {
    const rater = raterOf(byId("rater").value);
    if (!rater) {
      note("begin-note", `Give the number that you were sent, from 1 to ${study.plan.length}.`);
      byId("rater").focus();
      return;
    }
    questions = study.plan[rater - 1];
    state = load(rater) || { rater, session: newSession(), started: new Date().toISOString(), finished: null, at: 0, answers: {} };
    store();
    if (state.at >= questions.length) end();
    else if (state.at === 0 || questions[state.at - 1].section !== questions[state.at].section) part();
    else ask();
  }

  function progress() {
    const answered = Object.keys(state.answers).length;
    const question = questions[Math.min(state.at, questions.length - 1)];
    byId("section-name").textContent = words[question.section].title;
    byId("count").textContent = `${Math.min(state.at + 1, questions.length)} of ${questions.length}`;
    byId("done").style.width = `${(100 * answered) / questions.length}%`;
    byId("track").setAttribute("aria-valuemax", questions.length);
    byId("track").setAttribute("aria-valuenow", answered);
  }

  function part() {
    const { section } = questions[state.at];
    const sections = [...new Set(questions.map((question) => question.section))];
    byId("part-title").textContent = `Part ${sections.indexOf(section) + 1} of ${sections.length}: ${words[section].title}`;
    byId("part-text").textContent = words[section].text;
    progress();
    show("part");
    byId("part-button").focus();
  }

  function picture(name, alt) {
    const image = new Image();
    image.src = `images/${name}`;
    image.alt = alt;
    image.draggable = false;
    return image;
  }

  function option(question, place) {
    const figure = document.createElement("figure");
    figure.className = "option";
    const frame = document.createElement("div");
    frame.className = "frame";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "choose";
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `Picture ${letter(place)}`);
    button.append(picture(question.images[place], ""));
    button.addEventListener("click", () => choose(place));
    frame.append(button);
    if (question.box) {
      const region = document.createElement("div");
      region.className = "region";
      ["left", "top", "width", "height"].forEach((side, index) => {
        region.style[side] = `${100 * question.box[index]}%`;
      });
      frame.append(region);
    }
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = letter(place);
    const enlarge = document.createElement("button");
    enlarge.type = "button";
    enlarge.textContent = "Enlarge";
    enlarge.addEventListener("click", () => large(question.images[place], `Picture ${letter(place)}`));
    caption.append(name, enlarge);
    figure.append(frame, caption);
    return figure;
  }

  function ask() {
    const question = questions[state.at];
    byId("ask").textContent = words[question.section][question.images.length === 2 ? "pair" : "set"];
    byId("reference-place").hidden = !question.reference;
    if (question.reference) byId("reference").src = `images/${question.reference}`;
    byId("options").replaceChildren(...question.images.map((_, place) => option(question, place)));
    const count = question.images.length;
    byId("options").style.setProperty("--columns", count <= 3 ? count : count === 4 ? 2 : 3);
    byId("back").disabled = state.at === 0;
    progress();
    mark();
    show("question");
    byId("ask").focus({ preventScroll: true });
    shownAt = performance.now();
    const next = questions[state.at + 1];
    for (const name of next ? [...next.images, next.reference] : []) if (name) picture(name, "");
  }

  function mark() {
    const chosen = state.answers[questions[state.at].id]?.choice;
    document.querySelectorAll(".option").forEach((figure, place) => {
      const button = figure.querySelector(".choose");
      button.setAttribute("aria-checked", String(place === chosen));
      if (place === chosen) figure.dataset.chosen = "";
      else delete figure.dataset.chosen;
    });
    byId("next").disabled = chosen === undefined;
  }

  function choose(place) {
    const { id } = questions[state.at];
    const before = state.answers[id]?.seconds || 0;
    const now = performance.now();
    state.answers[id] = { choice: place, seconds: Math.round((before + (now - shownAt) / 1000) * 100) / 100 };
    shownAt = now;
    state.finished = null;
    store();
    mark();
    progress();
  }

  function next() {
    if (state.answers[questions[state.at].id] === undefined) return;
    const { section } = questions[state.at];
    state.at += 1;
    if (state.at === questions.length) end();
    else if (questions[state.at].section !== section) part();
    else ask();
    store();
  }

  function back() {
    if (state.at === 0) return;
    state.at -= 1;
    store();
    ask();
  }

  function large(name, text) {
    byId("large-image").src = `images/${name}`;
    byId("large-text").textContent = `${text} (click or press a key to close)`;
    byId("large").showModal();
  }

  function answers() {
    return {
      schema: 1,
      study: study.study,
      rater: state.rater,
      session: state.session,
      started: state.started,
      finished: state.finished,
      answers: questions.filter(({ id }) => state.answers[id]).map(({ id }) => ({ question: id, ...state.answers[id] })),
    };
  }

  function end() {
    state.finished ||= new Date().toISOString();
    store();
    progress();
    const link = byId("download");
    if (link.href) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([JSON.stringify(answers(), null, 1) + "\n"], { type: "application/json" }));
    link.download = `answers-${study.study.slice(0, 8)}-rater-${state.rater}.json`;
    byId("end-text").textContent = study.post
      ? "Your answers are being sent. You can also keep a copy."
      : "Download the file with your answers and give it to whoever asked you.";
    show("end");
    if (study.post) send();
    else note("end-note", canStore ? "" : "This browser keeps nothing: download before you close the page.");
  }

  async function send() {
    byId("send").hidden = true;
    note("end-note", "Sending …");
    try {
      const reply = await fetch(study.post, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(answers()),
      });
      if (!reply.ok) throw new Error(`the server said ${reply.status}`);
      note("end-note", "Your answers have arrived. You may close the page.");
    } catch (error) {
      byId("send").hidden = false;
      note("end-note", `The answers could not be sent (${error.message}). Try again, or download the file and send it yourself.`);
    }
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (byId("large").open) {
      if (event.key !== "Shift") byId("large").close();
      event.preventDefault();
      return;
    }
    if (byId("question").hidden) return;
    const { images } = questions[state.at];
    const chosen = state.answers[questions[state.at].id]?.choice;
    const place = "123456789".indexOf(event.key);
    if (place >= 0 || event.key.startsWith("Arrow")) byId("ask").focus({ preventScroll: true });
    if (place >= 0 && place < images.length) choose(place);
    else if (event.key === "ArrowLeft") choose(chosen === undefined ? 0 : Math.max(0, chosen - 1));
    else if (event.key === "ArrowRight") choose(chosen === undefined ? (images.length === 2 ? 1 : 0) : Math.min(images.length - 1, chosen + 1));
    else if (event.key === "Enter") {
      const focused = document.activeElement;
      const ownMeaning = focused.tagName === "BUTTON" && focused.id !== "next" && focused.getAttribute("aria-checked") !== "true";
      if (ownMeaning) return; // of a button that was reached by Tab
      next();
    }
    else if (event.key === "Backspace") back();
    else if (event.key.toLowerCase() === "z") large(images[chosen || 0], `Picture ${letter(chosen || 0)}`);
    else return;
    event.preventDefault();
  }

  byId("total").textContent = study.plan[0].length;
  byId("minutes").textContent = Math.max(1, Math.round(study.plan[0].length / 6));
  byId("rater").value = new URLSearchParams(location.search).get("rater") || "";
  byId("rater").addEventListener("input", describeStart);
  byId("begin").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
  byId("part-button").addEventListener("click", ask);
  byId("next").addEventListener("click", next);
  byId("back").addEventListener("click", back);
  byId("send").addEventListener("click", send);
  byId("review").addEventListener("click", () => { state.at = questions.length - 1; ask(); });
  byId("reference-enlarge").addEventListener("click", () => large(questions[state.at].reference, "Reference"));
  byId("large").addEventListener("click", () => byId("large").close());
  byId("large").addEventListener("close", () => byId("ask").focus({ preventScroll: true }));
  document.addEventListener("keydown", onKey);
  describeStart();
  show("start");
})();
