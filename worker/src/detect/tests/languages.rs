use super::*;

/// One line for all that a row of the table may say: `-` for nothing.
fn line(it: &Detection) -> String {
    let text = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".into());
    let argv = |it: &Option<Vec<String>>| it.as_ref().map_or_else(|| "-".into(), |it| it.join(" "));
    format!(
        "{} {} {} {}{} | {} | {} | {} | {} | {}",
        it.language.map_or("-", Language::as_str),
        text(&it.version),
        text(&it.framework),
        it.package_manager.map_or("-", PackageManager::as_str),
        if it.locked { "+lock" } else { "" },
        text(&it.entry_point),
        it.port.map_or_else(|| "-".into(), |it| it.to_string()),
        argv(&it.start),
        argv(&it.build),
        text(&it.output),
    )
}

type Row<'a> = (&'a [(&'a str, &'a str)], &'a str);

pub(super) fn check(rows: &[Row<'_>]) {
    for (files, expected) in rows {
        let found = detected(files);
        assert_eq!(line(&found), *expected, "\n{files:#?}\n{:#?}", found.reasons);
        assert!(!found.reasons.is_empty());
    }
}

#[test]
fn node() {
    check(&[
        (
            &[
                (
                    "package.json",
                    r#"{"dependencies":{"express":"4.19.2"},"scripts":{"start":"node server.js"},"engines":{"node":">=18 <21"}}"#,
                ),
                ("package-lock.json", "{}"),
                ("server.js", "const app = express();\napp.listen(process.env.PORT || 8081);"),
            ],
            "node 20 express npm+lock | server.js | 8081 | node server.js | - | -",
        ),
        (
            &[
                ("package.json", r#"{"dependencies":{"fastify":"^4"},"main":"src/index.js"}"#),
                ("yarn.lock", ""),
                (".nvmrc", "v22.3.0\n"),
                ("src/index.js", "fastify.listen({ port: 4000 })"),
            ],
            "node 22 fastify yarn+lock | src/index.js | 4000 | node src/index.js | - | -",
        ),
        (
            &[
                (
                    "package.json",
                    r#"{"packageManager":"pnpm@9.1.0","dependencies":{"next":"15.0.0","express":"4"},"scripts":{"build":"next build","start":"next start"}}"#,
                ),
                ("pnpm-lock.yaml", ""),
                (".node-version", "lts/iron"),
            ],
            "node 20 next pnpm+lock | - | 3000 | pnpm run start | pnpm run build | -",
        ),
        (
            &[
                ("package.json", r#"{"dependencies":{"next":"15.0.0"},"scripts":{"build":"next build"}}"#),
                ("next.config.mjs", "export default { output: 'export' }"),
            ],
            "node - next npm | index.html | 8080 | - | npm run build | out",
        ),
        (
            &[
                (
                    "package.json",
                    r#"{"dependencies":{"@nestjs/core":"10","@nestjs/platform-express":"10","express":"4"},"scripts":{"build":"nest build","start":"nest start","start:prod":"node dist/main"}}"#,
                ),
                ("src/main.ts", "await app.listen(process.env.PORT ?? 3333);"),
                (".tool-versions", "ruby 3.3.0\nnodejs 20.1.0\n"),
            ],
            "node 20 nest npm | dist/main | 3333 | node dist/main | npm run build | -",
        ),
        (
            &[
                ("package.json", r#"{"dependencies":{"@hapi/hapi":"21"}}"#),
                ("server.js", "Hapi.server({ port: 3003 })"),
                ("bun.lockb", ""),
            ],
            "node - hapi bun+lock | server.js | 3003 | node server.js | - | -",
        ),
        (
            &[
                (
                    "package.json",
                    r#"{"dependencies":{"koa":"2"},"scripts":{"start":"NODE_ENV=production node app.js"}}"#,
                ),
                ("app.js", ""),
            ],
            "node - koa npm | - | 3000 | npm run start | - | -",
        ),
        (
            &[
                (
                    "package.json",
                    r#"{"devDependencies":{"vite":"5"},"dependencies":{"react":"18"},"scripts":{"dev":"vite","build":"vite build","start":"vite"}}"#,
                ),
                ("index.html", "<div>"),
                ("vite.config.ts", "build: { outDir: './site' }"),
            ],
            "node - vite npm | index.html | 8080 | - | npm run build | site",
        ),
        (
            &[(
                "package.json",
                r#"{"dependencies":{"react-scripts":"5"},"scripts":{"build":"react-scripts build","start":"react-scripts start"}}"#,
            )],
            "node - react-scripts npm | index.html | 8080 | - | npm run build | build",
        ),
        (
            &[
                ("package.json", r#"{"scripts":{"start":"node server.js"}}"#),
                ("server.js", "http.createServer().listen(3000)"),
            ],
            "node - - npm | server.js | 3000 | node server.js | - | -",
        ),
        (
            &[("package.json", r#"{"dependencies":{"hono":"4"}}"#), ("bun.lock", ""), ("index.ts", "")],
            "node - hono bun+lock | index.ts | 3000 | bun run index.ts | - | -",
        ),
    ]);
}

#[test]
fn python() {
    check(&[
        (
            &[
                ("requirements.txt", "Flask==3.0.0\r\ngunicorn>=21 # server\r\n"),
                (".python-version", "3.12.4\n"),
                ("app.py", "from flask import Flask\napp = Flask(__name__)\n"),
            ],
            "python 3.12 flask pip | app:app | 5000 | gunicorn --bind 0.0.0.0:5000 app:app | - | -",
        ),
        (
            &[
                ("requirements.txt", "flask\n"),
                (
                    "shop/__init__.py",
                    "from flask import Flask\n\ndef create_app(test=None):\n    return Flask(__name__)\n",
                ),
                ("runtime.txt", "python-3.11.9"),
            ],
            "python 3.11 flask pip | shop:create_app | 5000 | flask --app shop:create_app run --host 0.0.0.0 --port 5000 | - | -",
        ),
        (
            &[
                (
                    "pyproject.toml",
                    "[project]\nname='x'\nrequires-python='>=3.11,<3.13'\ndependencies=['fastapi[standard]>=0.110']\n",
                ),
                ("uv.lock", ""),
                ("src/shop/main.py", "from fastapi import FastAPI\napi: FastAPI = FastAPI()\n"),
            ],
            "python 3.12 fastapi uv+lock | shop.main:api | 8000 | uvicorn --app-dir src shop.main:api --host 0.0.0.0 --port 8000 | - | -",
        ),
        (
            &[
                (
                    "pyproject.toml",
                    "[tool.poetry.dependencies]\npython='~3.12'\nstarlette='*'\nuvicorn={version='0.30'}\n",
                ),
                ("poetry.lock", ""),
                (
                    "app/main.py",
                    "from starlette.applications import Starlette\nimport os\napp = Starlette()\nport = int(os.environ.get('PORT', 9000))\n",
                ),
            ],
            "python 3.12 starlette poetry+lock | app.main:app | 9000 | uvicorn app.main:app --host 0.0.0.0 --port 9000 | - | -",
        ),
        (
            &[
                ("Pipfile", "[packages]\ndjango='*'\ngunicorn='*'\n[requires]\npython_version='3.11'\n"),
                ("Pipfile.lock", "{}"),
                ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings.production')"),
                ("shop/wsgi.py", ""),
                ("shop/settings/production.py", ""),
            ],
            "python 3.11 django pipenv+lock | shop.wsgi:application | 8000 | gunicorn --bind 0.0.0.0:8000 shop.wsgi:application | - | -",
        ),
        (
            &[
                ("requirements.txt", "-r requirements/base.txt"),
                ("requirements/base.txt", "Django==5.0"),
                ("manage.py", "setdefault(\"DJANGO_SETTINGS_MODULE\", \"shop.settings\")"),
            ],
            "python - django pip | manage.py | 8000 | python manage.py runserver 0.0.0.0:8000 | - | -",
        ),
        (
            &[
                ("requirements.txt", "tornado"),
                ("main.py", "import tornado\nif __name__ == '__main__':\n    app.listen(8889)\n"),
            ],
            "python - tornado pip | main.py | 8889 | python main.py | - | -",
        ),
        (&[("main.py", "print(1)")], "python - - pip | main.py | - | python main.py | - | -"),
    ]);
}

#[test]
fn ruby_php_and_files() {
    check(&[
        (
            &[
                (
                    "Gemfile",
                    "source 'https://gems.example'\nruby '~> 3.2.0'\ngem 'rails', '~> 7.1'\ngem \"puma\"\n",
                ),
                ("Gemfile.lock", ""),
                ("config/puma.rb", "port ENV.fetch(\"PORT\") { 3002 }"),
                ("config.ru", ""),
            ],
            "ruby 3.2 rails bundler+lock | config.ru | 3002 | bundle exec rails server -b 0.0.0.0 -p 3002 | - | -",
        ),
        (
            &[
                ("Gemfile", "gem 'sinatra'\n"),
                (".ruby-version", "ruby-3.3.1"),
                ("app.rb", "require 'sinatra'\nset :port, 4568\n"),
            ],
            "ruby 3.3 sinatra bundler | app.rb | 4568 | bundle exec ruby app.rb -o 0.0.0.0 -p 4568 | - | -",
        ),
        (
            &[("Gemfile", "gem 'rack'\ngem 'puma'\n"), ("config.ru", "run App")],
            "ruby - rack bundler | config.ru | 9292 | bundle exec puma -b tcp://0.0.0.0:9292 | - | -",
        ),
        (
            &[
                ("composer.json", r#"{"require":{"php":"^8.2","laravel/framework":"^11.0"}}"#),
                ("composer.lock", "{}"),
                ("artisan", ""),
                ("public/index.php", "<?php"),
            ],
            "php 8.4 laravel composer+lock | public/index.php | 8000 | php artisan serve --host 0.0.0.0 --port 8000 | - | -",
        ),
        (
            &[
                ("composer.json", r#"{"require":{"php":"~8.2.0","symfony/framework-bundle":"7.0.*"}}"#),
                ("public/index.php", "<?php"),
            ],
            "php 8.2 symfony composer | public/index.php | 8000 | php -S 0.0.0.0:8000 -t public | - | -",
        ),
        (&[("index.php", "<?php")], "php - - - | index.php | 8000 | php -S 0.0.0.0:8000 -t . | - | -"),
        (&[("index.html", "<p>")], "static - - - | index.html | 8080 | - | - | ."),
        (&[("dist/index.html", "<p>")], "static - - - | dist/index.html | 8080 | - | - | dist"),
    ]);
}

#[test]
fn django_without_its_requirement() {
    check(&[(
        &[
            ("setup.py", ""),
            ("site/manage.py", "setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')"),
            ("site/shop/wsgi.py", ""),
        ],
        "python - django pip | shop.wsgi:application | 8000 | python site/manage.py runserver 0.0.0.0:8000 | - | -",
    )]);
}

#[test]
fn node_options_are_no_entry() {
    check(&[(
        &[
            ("package.json", r#"{"scripts":{"start":"node -r dotenv/config src/web.js --port 3200"}}"#),
            ("src/web.js", "listen(3200)"),
        ],
        "node - - npm | src/web.js | 3200 | node -r dotenv/config src/web.js --port 3200 | - | -",
    )]);
}
