"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const items = data.items;
  const PALETTE = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#e67e22", "#1abc9c", "#8e44ad",
    "#c0392b", "#2c82c9", "#a3be3c", "#d35400", "#16a085", "#e084b4", "#7f8c2d", "#5d6dcc", "#b07a4f", "#3aa655",
  ];
  const NONE = "#8a939c";
  const FADED = 0.08;

  const price = (item) => item.price === null ? "" : item.price.toFixed(2);
  const element = (name, attributes = {}, ...children) => {
    const made = Object.assign(document.createElement(name), attributes);
    made.append(...children);
    return made;
  };

  // A button with the item's image, which shows its look-alikes.
  const button = (position) => {
    const item = items[position];
    const seen = item.image
      ? element("img", { src: item.image, alt: item.title, loading: "lazy", decoding: "async" })
      : element("span", { className: "missing" }, item.title);
    const made = element("button", { className: "item", type: "button", title: item.title }, seen);
    made.addEventListener("click", () => choose(position, made));
    return made;
  };

  let cameFrom = null;
  const choose = (position, opener = null) => {
    const item = items[position];
    cameFrom = opener;
    const said = [price(item), item.cluster === null ? "" : `cluster ${item.cluster}`, item.id].filter(Boolean);
    const alike = element("ul", { className: "alike" }, ...item.alike.map(([other, distance]) => element(
      "li", {}, button(other),
      element("span", {}, items[other].title, element("small", {}, [price(items[other]), `distance ${distance}`].filter(Boolean).join(" · "))),
    )));
    $("panel-items").replaceChildren(
      element("div", { className: "chosen" }, button(position),
        element("div", {}, element("strong", {}, item.title), element("small", {}, said.join(" · ")))),
      item.alike.length ? alike : element("p", { className: "hint" }, "It has no look-alikes here."),
    );
    $("panel-heading").textContent = `Look-alikes of ${item.title}`;
    $("panel-hint").hidden = true;
    $("panel-close").hidden = false;
    $("panel").classList.add("open");
    $("panel").scrollTop = 0;
    if (opener !== null) {
      $("panel-heading").focus({ preventScroll: true });
    }
  };
  const close = () => {
    if ($("panel-close").hidden) {
      return;
    }
    $("panel-items").replaceChildren();
    $("panel-heading").textContent = "Look-alikes";
    $("panel-hint").hidden = false;
    $("panel-close").hidden = true;
    $("panel").classList.remove("open");
    if (cameFrom !== null && cameFrom.isConnected) {
      cameFrom.focus();
    }
  };
  $("panel-close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());

  for (const gallery of document.querySelectorAll("[data-gallery]")) {
    gallery.append(...data.galleries[gallery.dataset.gallery].map(button));
  }
  if ($("strips") !== null) {
    $("strips").append(...data.strips.map((position) => element(
      "div", { className: "strip" }, button(position), ...items[position].alike.map(([other]) => button(other)),
    )));
  }

  const names = new Map();
  items.forEach((item, position) => {
    const name = item.title === item.id ? item.id : `${item.title} (${item.id})`;
    names.set(name, position).set(item.id, position);
    $("names").append(element("option", { value: name }));
  });
  $("find").addEventListener("change", () => {
    const wanted = $("find").value.trim();
    $("found-none").textContent = "";
    const lower = wanted.toLowerCase();
    const found = names.get(wanted) ?? items.findIndex((item) => lower && item.title.toLowerCase().includes(lower));
    if (found >= 0) {
      choose(found, $("find"));
    } else if (wanted) {
      $("found-none").textContent = `No item is called “${wanted}”.`;
    }
  });

  // What colors can stand for: the name of an item's group, or null.
  const groupings = [];
  if (items.some((item) => item.cluster !== null)) {
    groupings.push(["cluster", (item) => item.cluster === null ? null : `cluster ${item.cluster}`]);
  }
  data.labelSets.forEach((name, number) => groupings.push([name, (item) => item.labels[number]]));

  const drawMap = (plot, source, images) => {
    const mapped = items.map((_, position) => position).filter((position) => items[position].x !== null);
    const thumbnails = plot.select_one("thumbnails").glyph;
    const frames = plot.select_one("frames");
    let only = null;

    const paint = () => {
      const [, groupOf] = groupings[$("color").value] ?? ["", () => null];
      const groups = mapped.map((position) => groupOf(items[position]));
      const counts = new Map();
      groups.forEach((group) => group !== null && counts.set(group, (counts.get(group) ?? 0) + 1));
      const order = [...counts.keys()].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
      const colors = new Map(order.map((group, number) => [group, PALETTE[number % PALETTE.length]]));
      source.data = {
        position: mapped,
        x: mapped.map((position) => items[position].x),
        y: mapped.map((position) => items[position].y),
        url: mapped.map((position) => items[position].image ?? ""),
        title: mapped.map((position) => items[position].title),
        price: mapped.map((position) => price(items[position])),
        group: groups.map((group) => group ?? ""),
        color: groups.map((group) => colors.get(group) ?? NONE),
        alpha: groups.map((group) => only === null || group === only ? 1 : FADED),
      };
      const { x, y, url, alpha } = source.data;
      images.data = { x, y, url, alpha };
      $("legend").replaceChildren(...order.map((group) => {
        const swatch = element("i");
        swatch.style.background = colors.get(group);
        const words = group.startsWith("cluster ") ? (data.clusters[group.slice(8)] ?? []).slice(0, 2).join(" ") : "";
        const chip = element("button", { type: "button" }, swatch, `${group} ${words} (${counts.get(group)})`);
        chip.setAttribute("aria-pressed", String(group === only));
        chip.addEventListener("click", () => {
          only = only === group ? null : group;
          paint();
          [...$("legend").querySelectorAll("button")][order.indexOf(group)].focus();
        });
        return element("li", {}, chip);
      }));
    };

    // Thumbnails as large as there is room for: they grow as one zooms in.
    const fit = () => {
      const { x_range: x, y_range: y } = plot;
      const inside = mapped.filter((position) => {
        const item = items[position];
        return item.x >= x.start && item.x <= x.end && item.y >= y.start && item.y <= y.end;
      }).length;
      const area = plot.inner_width * plot.inner_height;
      const size = Math.max(10, Math.min(72, 0.9 * Math.sqrt(area / Math.max(1, inside))));
      thumbnails.w = { value: size, units: "screen" };
      thumbnails.h = { value: size, units: "screen" };
      frames.glyph.size = { value: size + 4 };
    };
    let waiting = false;
    const fitSoon = () => {
      if (!waiting) {
        waiting = true;
        requestAnimationFrame(() => { waiting = false; fit(); });
      }
    };

    const xs = mapped.map((position) => items[position].x);
    const ys = mapped.map((position) => items[position].y);
    for (const [range, values] of [[plot.x_range, xs], [plot.y_range, ys]]) {
      const least = Math.min(...values);
      const most = Math.max(...values);
      const margin = 0.04 * (most - least || 1);
      range.setv({ start: least - margin, end: most + margin, reset_start: least - margin, reset_end: most + margin });
      range.properties.start.change.connect(fitSoon);
      range.properties.end.change.connect(fitSoon);
    }
    groupings.forEach(([name], number) => $("color").append(element("option", { value: number }, name)));
    if (!groupings.length) {
      $("color").append(element("option", { value: -1 }, "nothing"));
    }
    $("color").addEventListener("change", () => { only = null; paint(); });
    source.selected.properties.indices.change.connect(() => {
      const [first] = source.selected.indices;
      if (first !== undefined) {
        choose(source.data.position[first]);
      }
    });
    paint();
    plot.properties.inner_width.change.connect(fitSoon);
    fitSoon();
  };

  const inkCharts = (models) => {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    for (const model of models) {
      if (model.type.endsWith("Axis") || model.type === "ColorBar") {
        model.setv(model.type === "ColorBar"
          ? { major_label_text_color: ink, background_fill_alpha: 0 }
          : { axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: line,
              major_tick_line_color: line, minor_tick_line_color: null });
      } else if (model.type === "Legend") {
        model.label_text_color = ink;
      } else if (model.type === "Grid") {
        model.grid_line_color = line;
      }
    }
  };

  // Bokeh has put its charts into the page when it has a document.
  const whenDrawn = (ready) => {
    const [drawn] = Bokeh.documents;
    if (drawn === undefined) {
      setTimeout(whenDrawn, 20, ready);
    } else {
      ready(drawn);
    }
  };
  if (document.querySelector("[data-root-id]") !== null) {
    whenDrawn((drawn) => {
      const models = [...drawn.all_models];
      const scheme = matchMedia("(prefers-color-scheme: dark)");
      scheme.addEventListener("change", () => inkCharts(models));
      inkCharts(models);
      const plot = models.find((model) => model.name === "map");
      if (plot !== undefined) {
        const [source, images] = ["items", "images"].map((name) => models.find((model) => model.name === name));
        drawMap(plot, source, images);
      }
      document.documentElement.dataset.ready = "true";
    });
  } else {
    document.documentElement.dataset.ready = "true";
  }
})();
