// Clips that stand beside each other play together: what is done to one, by its controls or at its end, is done to all.

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
// Those that were moved to where another one is, and must not lead it in turn.
const led = new WeakSet();

const clipsOf = (group) => [...group.querySelectorAll("video")];
const othersOf = (clip) => clipsOf(clip.closest(".pictures")).filter((one) => one !== clip && one.readyState > 1);
const plays = (group) => (group.dataset.plays ?? String(!calm.matches)) === "true";

function follow(clip, leader) {
  if (Math.abs(clip.currentTime - leader.currentTime) < 0.02) return;
  led.add(clip);
  clip.currentTime = leader.currentTime;
}

// Small clips are shown with their pixels, and the next one in its place takes as much room.
function fit(clip) {
  clip.classList.toggle("small", clip.videoWidth < 500);
  clip.style.aspectRatio = `${clip.videoWidth} / ${clip.videoHeight}`;
}

// A clip that has come joins those that are there.
function join(clip) {
  const [leader] = othersOf(clip);
  if (leader) follow(clip, leader);
  if (plays(clip.closest(".pictures"))) start(clip);
}

// Not where another clip takes its place meanwhile.
function start(clip) {
  clip.play().catch(() => {});
}

function on(name, then) {
  // Such events do not bubble.
  document.addEventListener(name, ({ target }) => target.localName === "video" && then(target), true);
}

on("resize", fit);
on("loadeddata", join);
on("seeking", (clip) => led.delete(clip) || othersOf(clip).forEach((other) => follow(other, clip)));
on("play", (clip) => {
  clip.closest(".pictures").dataset.plays = true;
  othersOf(clip).forEach(start);
});
on("pause", (clip) => {
  clip.closest(".pictures").dataset.plays = false;
  othersOf(clip).forEach((other) => {
    other.pause();
    follow(other, clip);
  });
});

// Those that came before this script.
document.querySelectorAll("video").forEach((clip) => {
  if (clip.videoWidth) fit(clip);
  if (clip.readyState > 1) join(clip);
});
